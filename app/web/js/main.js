// Starts everything.

import { learnWho } from "./access.js";
import { giveToken, onUnauthorised } from "./api.js";
import { banner } from "./banner.js";
import { askedToken } from "./dialogs.js";
import { healthLine } from "./health.js";
import { overview } from "./overview.js";
import { personMenu } from "./person.js";
import { route } from "./router.js";
import { sessionView } from "./session.js";
import { keepAsking } from "./stream.js";
import { themeSwitch } from "./theme.js";

const WHO_MS = 10_000;

const $ = (id) => document.getElementById(id);

onUnauthorised(askedToken, () => banner("locked", "The service wants a token.", { text: "Give one", run: unlock }));
themeSwitch($("theme"));
const always = new AbortController().signal;
const health = healthLine($("health"), always);
personMenu($("person"), always);
keepAsking(WHO_MS, always, learnWho);
route($("main"), {
  overview: (main, signal) => overview(main, signal, health),
  session: (main, signal, id) => sessionView(main, signal, id, health),
});

/** What gave up without a token begins anew. */
async function unlock() {
  if (await giveToken()) location.reload();
}
