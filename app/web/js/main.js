// Starts everything.

import { giveToken, onUnauthorised } from "./api.js";
import { banner } from "./banner.js";
import { askedToken } from "./dialogs.js";
import { healthLine } from "./health.js";
import { overview } from "./overview.js";
import { route } from "./router.js";
import { sessionView } from "./session.js";
import { themeSwitch } from "./theme.js";

const $ = (id) => document.getElementById(id);

onUnauthorised(askedToken, () => banner("locked", "The service wants a token.", { text: "Give one", run: unlock }));
themeSwitch($("theme"));
const health = healthLine($("health"), new AbortController().signal);
route($("main"), {
  overview: (main, signal) => overview(main, signal, health),
  session: (main, signal, id) => sessionView(main, signal, id, health),
});

/** What gave up without a token begins anew. */
async function unlock() {
  if (await giveToken()) location.reload();
}
