// A visitor of the console: Chromium with a fresh profile, what every page is held to, and the words the tests are told in.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const server = process.env.WEIR_SERVER;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const arguments_ = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1280, height: 900 };

/** Opens the browser. */
export const open = () =>
  chromium.launch({ executablePath: "/usr/bin/chromium", args: arguments_, headless: true });

/**
 * A visitor with a profile of its own. What a page must never do is noted in `faults`: ask another server, break the
 * Content-Security-Policy, fail in a script, or answer with an error of the server.
 */
export const visitor = async (browser, options = {}) => {
  const context = await browser.newContext({ viewport: DESK, baseURL: server, ...options });
  const faults = [];
  context.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${server}/`) && !url.startsWith("data:")) faults.push(`asked ${url}`);
  });
  context.on("response", (response) => {
    if (response.status() >= 500) faults.push(`${response.status()} of ${response.url()}`);
  });
  context.on("weberror", (error) => faults.push(`script: ${error.error()}`));
  context.on("console", (message) => {
    // The browser notes every answer of 400 and above here; those that a test asks for are no faults.
    const isOwn = !message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && isOwn) faults.push(`console: ${message.text()}`);
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  return { context, page, faults, close: () => context.close() };
};

/** Signs in on the page that is asked for. */
export const signIn = async (page, key, path = "/console") => {
  await page.goto(path);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
};

/** The number of a figure, by the words beside it. */
export const figure = async (page, words) => {
  const term = page.locator(".figure", { has: page.locator("dt", { hasText: new RegExp(`^${words}$`) }) });
  return Number(await term.locator("dd data").first().getAttribute("value"));
};

/** What the server itself says is available. */
export const available = async (org) => {
  const headers = { authorization: `Bearer ${process.env.WEIR_ADMIN}` };
  const answer = await fetch(`${server}/v1/organizations/${org}/summary`, { headers });
  assert.equal(answer.status, 200);
  return (await answer.json()).available;
};

/** Waits until `ask` answers with something that is true of `is`. */
export const until = async (what, ask, is, withinMs = 20_000) => {
  const end = Date.now() + withinMs;
  for (;;) {
    const value = await ask();
    if (is(value)) return value;
    assert.ok(Date.now() < end, `${what}: still ${value} after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

/** Keeps a picture of the page. */
export const shoot = (page, name) =>
  page.screenshot({ path: join(process.env.WEIR_SHOTS, `${name}.png`), fullPage: true });

/** What axe-core finds that keeps somebody out: serious and critical violations. */
const violations = async (page) => {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).slice(0, 3).join(" ")}`);
};

/** What is wider than the page. */
const overflow = (page) =>
  page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth > clientWidth ? `${scrollWidth} wide of ${clientWidth}` : "";
  });

/** Holds the page as it is against what every page is held to: light and dark, on a desk and on a phone. */
export const hold = async (page, name) => {
  const found = [];
  for (const [width, viewport] of [["desk", DESK], ["phone", PHONE]]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const here = `${name}, ${width}, ${colorScheme}`;
      found.push(...(await violations(page)).map((violation) => `${here}: ${violation}`));
      await shoot(page, `${name}-${width}-${colorScheme}`);
    }
    const wide = await overflow(page);
    if (wide) found.push(`${name}, ${width}: ${wide}`);
  }
  await page.setViewportSize(DESK);
  await page.emulateMedia({ colorScheme: "light" });
  assert.equal(await page.locator("h1").count(), 1, `${name} has one heading of the first order`);
  assert.equal(await page.locator("main").count(), 1, `${name} has one main part`);
  assert.match(await page.title(), /./, `${name} has a title`);
  assert.deepEqual(found, []);
};

/** A name for the page of a path: what differs from one organization, camera or license to the other is left out. */
export const nameOf = (path) =>
  path.split("?")[0].replace(/^\/console\/?/, "").replace(/organizations\/[^/]+/, "organization")
    .replace(/(licenses|cameras|transfers|keys|alerts|webhooks|deliveries)\/(?!add)[^/]+/, "$1-one")
    .replaceAll("/", "-") || "start";

/** Every page that links lead to from `start`, each kind once. */
export const walk = async (page, start, visit) => {
  const [seen, waiting] = [new Set(), [start]];
  while (waiting.length > 0) {
    const path = waiting.shift();
    const name = nameOf(path);
    if (seen.has(name)) continue;
    seen.add(name);
    const answer = await page.goto(path);
    assert.equal(answer.status(), 200, path);
    await visit(name);
    const links = await page.locator("a[href^='/console']").evaluateAll((all) => all.map((a) => a.getAttribute("href")));
    waiting.push(...links.filter((link) => !link.startsWith("/console/assets")));
  }
  return seen;
};
