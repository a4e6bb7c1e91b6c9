// What the console's browser tests share: a browser that keeps nothing and calls nobody, waiting for the page with a
// bound, and the one line of JSON in which each test says what it saw.
//
//   CHROMIUM            the browser's executable (default /usr/bin/chromium)
//   VOLTREE_SCREENSHOT  where to write a picture, taken at the end of each visit or at its failure

import { createRequire } from 'node:module'

const require = createRequire(new URL('../../api/console/package.json', import.meta.url))

// The browser must neither call home nor keep anything; its profile is a fresh one that goes with it.
const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export const DESKTOP = { viewport: { width: 1400, height: 900 } }
export const PHONE = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
}

/** A promise of the page that was not kept. */
export class Broken extends Error {}

/** What a test finds things by. */
export function at(page, testId) {
  return page.locator(`[data-testid="${testId}"]`)
}

/** Waits until `probe` holds in the page, or fails with what the page showed instead. Returns how long it took. */
export async function until(page, what, withinMs, probe, argument, instead) {
  const startedMs = Date.now()
  try {
    await page.waitForFunction(probe, argument, { timeout: withinMs, polling: 100 })
  } catch (error) {
    if (error.name !== 'TimeoutError') throw error
    const found = JSON.stringify(await page.evaluate(instead ?? probe, argument))
    throw new Broken(`${what}: not within ${withinMs / 1000} s; the page shows ${found}`, { cause: error })
  }
  return Date.now() - startedMs
}

/** Waits until `probe` gives something true outside of the page, or fails with what it gave last. */
export async function eventually(what, withinMs, probe) {
  const startedMs = Date.now()
  let last
  while (Date.now() - startedMs < withinMs) {
    last = await probe()
    if (last.ok) return last
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Broken(`${what}: not within ${withinMs / 1000} s; last seen ${JSON.stringify(last)}`)
}

/**
 * Runs `visit` with a page of its own. What the browser complains of fails the visit, unless it matches `expected`:
 * a browser tells of every request that a stopped node does not answer.
 */
export async function visitWith({ expected, ...context }, visit) {
  const { chromium } = require('playwright-core')
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ARGUMENTS,
  })
  try {
    const page = await (await browser.newContext({ ...DESKTOP, ...context })).newPage()
    const problems = []
    const complain = (text) => expected?.test(text) || problems.push(text)
    page.on('pageerror', (error) => complain(error.message))
    page.on('console', (message) => message.type() === 'error' && complain(message.text()))
    try {
      await visit(page)
    } finally {
      const path = process.env.VOLTREE_SCREENSHOT
      if (path) await page.screenshot({ path })
    }
    if (problems.length > 0) throw new Broken(`the browser complained: ${problems.join(' | ')}`)
  } finally {
    await browser.close()
  }
}

/** Runs the test and prints what it saw; a failure goes to stderr too, and into the exit code. */
export async function report(saw, test) {
  try {
    await test()
    console.log(JSON.stringify({ ok: true, ...saw }))
  } catch (error) {
    // What the browser's driver says comes in colour; logs want it plain and in one line.
    const plain = String(error?.message ?? error)
      .replaceAll(/\u001b\[\d+m/g, '')
      .replaceAll(/\s+/g, ' ')
      .trim()
    const message = error instanceof Broken ? plain : `could not look at the console: ${plain}`
    console.log(JSON.stringify({ ok: false, error: message, ...saw }))
    console.error(message)
    process.exitCode = 1
  }
}
