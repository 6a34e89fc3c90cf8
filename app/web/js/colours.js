// Colours of the style sheet, for what is drawn on canvases.

let probe = null;
let known = new Map();

/** A colour of the present theme by its custom property, as canvases take it. */
export function colour(name) {
  if (!known.has(name)) {
    if (!probe) {
      probe = document.createElement("span");
      probe.hidden = true;
      document.body.append(probe);
    }
    probe.style.color = `var(${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  return known.get(name);
}

/** The theme changed. */
export function forgetColours() {
  known = new Map();
}

/** Colours of patches and boxes lie on pictures and are the same in both themes. */
export const KIND_COLOURS = {
  object: "#ffb000",
  frame: "#6fb7ff",
  tile: "#3ddc97",
  motion: "#ff6f91",
  new_object: "#c792ff",
};

const CLASS_COLOURS = ["#35e0d0", "#ffd166", "#ff8fab", "#9bf26b", "#8ec5ff", "#d9a5ff", "#ff9f5a", "#f3f3f3"];

export const classColour = (classId) => CLASS_COLOURS[((classId % 8) + 8) % 8];
