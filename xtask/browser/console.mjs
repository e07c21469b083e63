// What people do on the console, in the order in which they do it: each test goes on from what the one before left.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { available, figure, hold, open, server, shoot, signIn, until, visitor, walk } from "./visit.mjs";

const { WEIR_ADMIN, WEIR_VIEWER, WEIR_GATEWAY, WEIR_OPERATOR, WEIR_LICENSE, WEIR_SPARE_LICENSE } = process.env;
const SUMMARY = "/console/organizations/acme/summary";
const LICENSES = "/console/organizations/acme/licenses";
const GRANTED = 30_000_000;

let browser;
let admin;

before(async () => {
  browser = await open();
  admin = await visitor(browser);
});
after(async () => {
  await browser?.close();
});

/** A visitor for one test, who must have done nothing that a page must never do. */
const alone = async (options, use) => {
  const someone = await visitor(browser, options);
  try {
    await use(someone.page, someone);
    assert.deepEqual(someone.faults, []);
  } finally {
    await someone.close();
  }
};

test("whoever is not signed in is asked to, and a key that is none is refused", () =>
  alone({}, async (page) => {
    await page.goto(SUMMARY);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await hold(page, "sign-in");
    await page.getByLabel("API key").fill("weir_0000000000000000_none");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await hold(page, "sign-in-refused");
    assert.equal(await page.getByRole("button", { name: "Sign out" }).count(), 0);
  }));

test("an administrator signs in, and the cookie is kept from scripts and from other sites", async () => {
  await signIn(admin.page, WEIR_ADMIN, SUMMARY);
  await admin.page.getByRole("heading", { name: "AI Token Summary" }).waitFor();
  const kept = (await admin.context.cookies()).filter((cookie) => cookie.httpOnly);
  assert.deepEqual(kept.map(({ sameSite }) => sameSite), ["Strict"]);
  const seen = await admin.page.evaluate(() => document.cookie);
  assert.ok(!seen.includes(kept[0].value), "scripts do not see the session");
});

test("nothing is there yet, and the pages say so", async () => {
  const { page } = admin;
  assert.equal(await figure(page, "Current Available"), 0);
  await hold(page, "summary-empty");
  await page.goto(LICENSES);
  await page.getByText("No license yet.").waitFor();
  await hold(page, "licenses-empty");
});

test("a license is shown before it is added for good, and then both screens show the same figure", async () => {
  const { page } = admin;
  await page.goto(LICENSES);
  await page.getByRole("link", { name: "Add a license" }).click();
  await page.getByRole("textbox", { name: "License key" }).fill("not a key");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByRole("alert").waitFor();
  await hold(page, "license-refused");
  await page.getByRole("textbox", { name: "License key" }).fill(WEIR_LICENSE);
  await page.getByRole("button", { name: "Preview" }).click();
  await page.getByRole("heading", { name: "What this key brings" }).waitFor();
  await page.getByText("This cannot be undone.").waitFor();
  assert.equal(await available("acme"), 0, "a preview adds nothing");
  await hold(page, "license-preview");
  const add = page.getByRole("button", { name: "Add 3 licenses for good" });
  await add.click();
  assert.equal(await available("acme"), 0, "nothing is added before it is said that it is understood");
  await page.getByLabel("I understand that this cannot be undone").check();
  await add.click();
  await page.waitForURL(`**${LICENSES}`);
  assert.equal(await figure(page, "Org Available AI Tokens"), GRANTED);
  await page.goto(SUMMARY);
  assert.equal(await figure(page, "Current Available"), GRANTED);
  assert.equal(await available("acme"), GRANTED);
});

test("a key is claimed once, whoever sends its form again", async () => {
  const { page } = admin;
  await page.goto(`${LICENSES}/add`);
  await page.getByRole("textbox", { name: "License key" }).fill(WEIR_LICENSE);
  await page.getByRole("button", { name: "Preview" }).click();
  await page.locator("main").getByText(/claimed|already|added/).first().waitFor();
  assert.equal(await available("acme"), GRANTED);
});

test("a threshold is set, and is armed", async () => {
  const { page } = admin;
  await page.goto("/console/organizations/acme/alerts");
  await hold(page, "alerts-empty");
  const set = page.locator("section", { has: page.getByRole("heading", { name: "Set a threshold" }) });
  await set.getByLabel("Name").fill("half");
  await set.getByLabel("Measure").selectOption("tokens_left");
  await set.getByLabel("Fires at").fill(String(GRANTED / 2));
  await set.getByRole("button", { name: "Set threshold" }).click();
  await page.getByRole("row", { name: /half/ }).getByText("Armed", { exact: true }).waitFor();
});

test("the figure falls on both screens while a trace streams, without a reload", async () => {
  const { page } = admin;
  await page.goto(SUMMARY);
  await page.evaluate(() => { globalThis.sameDocument = true; });
  const other = await admin.context.newPage();
  await other.goto(LICENSES);
  await page.bringToFront();
  await page.getByText("Live", { exact: true }).waitFor();
  const words = ["replay", "--server", server, "--key", WEIR_GATEWAY, "--admin-key", WEIR_ADMIN, "--org", "acme",
    "--cameras", "64", "--register", "--speed", "450", process.env.WEIR_TRACE];
  const replay = spawn(process.env.WEIR_PROGRAM, words, { stdio: "ignore" });
  const ended = new Promise((resolve) => replay.on("exit", resolve));
  const values = new Set();
  let shot = false;
  await until("figures seen", async () => {
    values.add(await figure(page, "Current Available"));
    if (values.size === 4 && !shot) {
      shot = true;
      await shoot(page, "summary-live");
    }
    return values.size;
  }, (size) => size >= 5);
  assert.equal(await ended, 0, "the replay ended well");
  const left = await available("acme");
  assert.ok(left > 0 && left < GRANTED, `${left} are left`);
  await until("the summary", () => figure(page, "Current Available"), (value) => value === left);
  await until("used", () => figure(page, "Used"), (value) => value === GRANTED - left);
  assert.equal(await page.evaluate(() => globalThis.sameDocument), true, "the page was not loaded again");
  const fallen = [...values];
  assert.deepEqual(fallen, [...fallen].sort((a, b) => b - a), "it only fell");
  await other.bringToFront();
  await until("the licenses", () => figure(other, "Org Available AI Tokens"), (value) => value === left);
  await other.close();
});

test("charts and the event log tell of what was used", async () => {
  const { page } = admin;
  await page.goto(`${SUMMARY}?window=hour`);
  const bars = page.locator("figure.chart rect.charged");
  await until("bars", () => bars.count(), (count) => count > 0);
  await page.goto("/console/organizations/acme/events?camera=cam-7");
  const cameras = await page.locator("table.events tbody th").allTextContents();
  assert.ok(cameras.length > 10 && cameras.every((camera) => camera === "cam-7"), "only what was asked for");
});

test("what fired is told, once", async () => {
  const { page } = admin;
  await until("the threshold", async () => {
    await page.goto("/console/organizations/acme/alerts");
    return page.getByRole("row", { name: /half/ }).getByText("Fired", { exact: true }).count();
  }, (count) => count === 1);
  const told = page.locator("section", { has: page.getByRole("heading", { name: "What was told" }) });
  assert.equal(await told.getByText("half").count(), 1);
});

test("a camera is switched off and on again, and an Unlimited AI License is bound to it and unbound", async () => {
  const { page } = admin;
  const cameras = "/console/organizations/acme/cameras";
  const enabled = async () => {
    await page.goto(SUMMARY);
    return figure(page, "Cloud AI Enabled of Total Cameras");
  };
  for (const [before, after] of [[64, 63], [63, 64]]) {
    assert.equal(await enabled(), before);
    await page.goto(cameras);
    const cloudAi = page.getByRole("switch", { name: "Cloud AI of cam-7", exact: true });
    assert.equal(await cloudAi.getAttribute("aria-checked"), String(before === 64));
    await cloudAi.click();
    await page.locator(`[aria-label="Cloud AI of cam-7"][aria-checked=${before !== 64}]`).waitFor();
    assert.equal(await enabled(), after);
  }
  await page.goto(`${cameras}/cam-7`);
  await page.getByLabel("License", { exact: true }).fill("U-1");
  await page.getByLabel("Valid from (UTC)").fill("2026-01-01T00:00");
  await page.getByLabel("Valid until (UTC)").fill("2036-01-01T00:00");
  await page.getByRole("button", { name: "Bind", exact: true }).click();
  const bound = page.getByRole("row", { name: /U-1/ });
  await bound.getByText("Valid", { exact: true }).waitFor();
  await hold(page, "camera-bound");
  await bound.getByRole("button", { name: "Unbind U-1" }).click();
  await page.getByText("None is bound").waitFor();
});

test("prices are looked at before they are set, and a card that came meanwhile is not replaced unseen", async () => {
  const { page } = admin;
  const rates = "/console/organizations/acme/rates";
  await page.goto(rates);
  await hold(page, "rates-empty");
  const other = await admin.context.newPage();
  await other.goto(rates);
  const preview = async (on, price) => {
    await on.getByLabel("Video search, per image").fill(price);
    await on.getByRole("button", { name: "Preview" }).click();
    await on.getByRole("heading", { name: "What these prices make" }).waitFor();
  };
  await preview(page, "1.5");
  await page.getByRole("row", { name: /Video search, per image/ }).getByText("150 tokens").waitFor();
  await hold(page, "rates-preview");
  await page.getByRole("button", { name: "Set these prices" }).click();
  await page.getByText("they are version 1").waitFor();
  await preview(other, "2");
  await other.getByRole("button", { name: "Set these prices" }).click();
  await other.getByRole("alert").getByText("not as you expect it").waitFor();
  await other.close();
  await page.goto(rates);
  assert.equal(await page.getByLabel("Video search, per image").inputValue(), "1.5");
});

test("a camera is removed when it is said that what this means is understood", async () => {
  const { page } = admin;
  await page.goto("/console/organizations/acme/cameras/cam-9");
  await page.getByLabel("I understand what this means").check();
  await page.getByRole("button", { name: "Remove cam-9" }).click();
  await page.getByText("Camera cam-9 was removed").waitFor();
  await page.goto(SUMMARY);
  const term = page.locator(".figure", { hasText: "Cloud AI Enabled of Total Cameras" });
  assert.match(await term.innerText(), /63\s+of\s+63/);
});

test("on a phone the licenses and the prices are read without scrolling sideways", async () => {
  const { page } = admin;
  await page.setViewportSize({ width: 360, height: 740 });
  for (const path of [LICENSES, "/console/organizations/acme/rates"]) {
    await page.goto(path);
    const tables = page.locator("table.stacked");
    assert.ok(await tables.count() > 0, path);
    const wide = await page.locator(".scroll").evaluateAll((all) => all.map((one) => one.scrollWidth - one.clientWidth));
    assert.ok(wide.every((over) => over <= 0), `${path} is ${wide} too wide`);
    const words = await tables.first().locator("td").evaluateAll((all) => all.map((td) => getComputedStyle(td, "::before").content));
    assert.ok(words.length > 0 && words.every((word) => word.length > 2), `each cell says what it is: ${words}`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
});

test("every page can be read by everybody: axe-core, light and dark, a desk and a phone", async () => {
  const { page } = admin;
  const seen = await walk(page, "/console", (name) => hold(page, name));
  for (const name of ["organization-summary", "organization-events", "organization-licenses", "organization-licenses-one",
    "organization-licenses-add", "organization-transfer", "organization-cameras", "organization-cameras-one", "organization-rates", "organization-alerts",
    "organization-deliveries", "organization-audit"]) {
    assert.ok(seen.has(name), `${name} is reached by links: ${[...seen]}`);
  }
});

test("an operator sees what is an operator's, and nothing of a pool", () =>
  alone({}, async (page) => {
    await signIn(page, WEIR_OPERATOR);
    const seen = await walk(page, "/console", (name) => hold(page, `operator-${name}`));
    assert.ok(["keys", "audit", "server"].every((name) => seen.has(name)), [...seen].join(" "));
    const answer = await page.goto(SUMMARY);
    assert.equal(answer.status(), 403);
    await hold(page, "refused");
  }));

test("a viewer sees the same figure and cannot change anything, not with a forged form either", () =>
  alone({}, async (page, { context }) => {
    const left = await available("acme");
    await signIn(page, WEIR_VIEWER, SUMMARY);
    assert.equal(await figure(page, "Current Available"), left);
    const changes = page.locator("form[method=post]:not([action='/console/sign-out'])");
    await walk(page, "/console", async (name) => {
      assert.equal(await changes.count(), 0, `${name} has a form that changes something`);
    });
    for (const path of [`${LICENSES}/add`, "/console/organizations/acme/transfer"]) {
      assert.equal((await page.goto(path)).status(), 403, path);
    }
    await page.goto(SUMMARY);
    const csrf = await page.locator("input[name=csrf]").first().inputValue();
    const forged = [
      [`${LICENSES}/add`, { csrf, step: "add", key: WEIR_SPARE_LICENSE, understood: "yes" }],
      ["/console/organizations/acme/transfer", { csrf, id: "forged", target: "umbra", name: "Umbra" }],
    ];
    for (const [path, form] of forged) {
      const answer = await context.request.post(path, { form, headers: { origin: server }, maxRedirects: 0 });
      assert.equal(answer.status(), 403, path);
    }
    assert.equal(await available("acme"), left);
  }));

test("a form without the token of its session, or from another site, changes nothing", async () => {
  const { page, context } = admin;
  const left = await available("acme");
  await page.goto(SUMMARY);
  const csrf = await page.locator("input[name=csrf]").first().inputValue();
  const form = { step: "add", key: WEIR_SPARE_LICENSE, understood: "yes" };
  for (const [fields, origin] of [[form, server], [{ ...form, csrf: "guessed" }, server], [{ ...form, csrf }, "https://elsewhere.example"]]) {
    const answer = await context.request.post(`${LICENSES}/add`, { form: fields, headers: { origin }, maxRedirects: 0 });
    assert.ok(answer.status() >= 400 && answer.status() < 500, `${answer.status()} from ${origin}`);
  }
  assert.equal(await available("acme"), left);
});

test("the main ways go by keyboard alone", () =>
  alone({}, async (page) => {
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id);
    const reach = async (words) => {
      for (let step = 0; step < 60; step += 1) {
        await page.keyboard.press("Tab");
        if ((await focused()).startsWith(words)) {
          const outline = await page.evaluate(() => {
            const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(document.activeElement);
            return (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
          });
          assert.ok(outline, `${words} is seen to have the focus`);
          return;
        }
      }
      assert.fail(`${words} is not reached by Tab`);
    };
    await page.goto(SUMMARY);
    // The field has the focus already.
    await page.keyboard.type(WEIR_ADMIN);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "AI Token Summary" }).waitFor();
    await reach("Skip to content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await page.goto(SUMMARY);
    await reach("Cloud AI");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Cloud AI" }).waitFor();
    await reach("Transfer Shared AI to Org");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Transfer Shared AI to Org" }).waitFor();
    await reach("Continue");
  }));

test("without script the pages tell the same", () =>
  alone({ javaScriptEnabled: false }, async (page) => {
    const left = await available("acme");
    await signIn(page, WEIR_VIEWER, SUMMARY);
    assert.equal(await figure(page, "Current Available"), left);
    await page.goto(LICENSES);
    assert.equal(await figure(page, "Org Available AI Tokens"), left);
  }));

test("a whole pool is moved when its target's name is typed, and watched until it is done", async () => {
  const { page } = admin;
  const left = await available("acme");
  await page.goto(LICENSES);
  await page.getByRole("link", { name: "Transfer Shared AI to Org" }).click();
  await page.getByLabel("Target organization").selectOption("umbra");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByText(left.toLocaleString("en-US")).first().waitFor();
  await hold(page, "transfer-confirm");
  const confirm = page.getByLabel("Type the name of the target organization to confirm");
  const go = page.getByRole("button", { name: "Transfer the whole pool" });
  await confirm.fill("Umbrella");
  await go.click();
  await page.getByRole("alert").waitFor();
  assert.equal(await available("acme"), left, "another name moves nothing");
  await confirm.fill("Umbra");
  await go.click();
  await page.getByText("done", { exact: true }).waitFor();
  await hold(page, "transfer-done");
  assert.deepEqual([await available("acme"), await available("umbra")], [0, left]);
  for (const [org, tokens] of [["acme", 0], ["umbra", left]]) {
    await page.goto(`/console/organizations/${org}/summary`);
    assert.equal(await figure(page, "Current Available"), tokens);
    await page.goto(`/console/organizations/${org}/licenses`);
    assert.equal(await figure(page, "Org Available AI Tokens"), tokens);
  }
});

test("whoever signs out has to sign in again", async () => {
  const { page, faults } = admin;
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.goto(SUMMARY);
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.deepEqual(faults, [], "what a page must never do");
});
