// Which view is shown: #/ or #/sessions/ID. A view that is left is aborted.

import { mayLeave } from "./leaving.js";

/**
 * @param views `{overview, session}`: functions of an element, a signal, and for a session its id.
 */
export function route(main, views) {
  let now = null;
  let shown = null;
  // Which of the tab's entries is shown, kept with the entry: it tells how far back the view is that was left.
  let place = 0;
  let isAsking = false;
  const show = () => {
    shown = location.hash;
    place = placeNow();
    history.replaceState({ place }, "");
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
  /** A link makes an entry behind the one that is shown. */
  const placeNow = () => history.state?.place ?? place + 1;
  const follow = () => {
    show();
    main.querySelector("h1")?.focus();
  };
  addEventListener("hashchange", async () => {
    // Whoever stayed comes back to what is shown already.
    if (isAsking || location.hash === shown) return;
    isAsking = true;
    const isLeaving = await mayLeave();
    isAsking = false;
    if (location.hash === shown) return;
    if (isLeaving) follow();
    else history.go(place - placeNow());
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
