// Which view is shown: #/ or #/sessions/ID. A view that is left is aborted.

/**
 * @param views `{overview, session}`: functions of an element, a signal, and for a session its id.
 */
export function route(main, views) {
  let now = null;
  const show = () => {
    now?.abort();
    now = new AbortController();
    main.replaceChildren();
    scrollTo(0, 0);
    const id = sessionOf(location.hash);
    document.title = id ? `${id} · FlexPatch` : "FlexPatch";
    main.dataset.view = id ? "session" : "overview";
    if (id) views.session(main, now.signal, id);
    else views.overview(main, now.signal);
  };
  addEventListener("hashchange", () => {
    show();
    main.querySelector("h1")?.focus();
  });
  show();
}

/** The session that a hash names; null for all of them. */
export function sessionOf(hash) {
  const found = hash.match(/^#\/sessions\/([^/]+)\/?$/);
  if (!found) return null;
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return null;
  }
}

export const hashOf = (id) => `#/sessions/${encodeURIComponent(id)}`;
