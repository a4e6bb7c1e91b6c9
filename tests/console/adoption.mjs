// A publisher that nobody knows, adopted through the page: it waits in its list, one click makes a device of it, and
// another one is sent away and taken back. It only reads what is on the page.
//
//   VOLTREE_URL         the console's address
//   VOLTREE_CANDIDATES  two ids that wait: the first is adopted, the second sent away first
//   CHROMIUM, VOLTREE_SCREENSHOT  as in browser.mjs

import { at, Broken, report, until, visitWith } from './browser.mjs'

const WITHIN_MS = 20_000
const url = process.env.VOLTREE_URL
const [wanted, unwanted] = (process.env.VOLTREE_CANDIDATES ?? '').split(',')
const saw = { url, wanted, unwanted }

const shown = (testId) => document.querySelector(`[data-testid="${testId}"]`) !== null
const gone = (testId) => document.querySelector(`[data-testid="${testId}"]`) === null

async function adopt(page, id) {
  await at(page, `adopt-${id}`).click()
  const afterMs = await until(page, `${id} is a device`, WITHIN_MS, shown, `fleet-row-${id}`)
  await until(page, `${id} waits no more`, WITHIN_MS, gone, `candidate-${id}`)
  return afterMs
}

async function visit(page) {
  await page.goto(url)
  await until(page, `${wanted} waits`, WITHIN_MS, shown, `candidate-${wanted}`)
  saw.turnedAway = await at(page, `candidate-${wanted}`).innerText()
  saw.adoptedAfterMs = await adopt(page, wanted)
  await at(page, `ignore-${unwanted}`).click()
  await until(page, `${unwanted} can't be sent away twice`, WITHIN_MS, gone, `ignore-${unwanted}`)
  saw.takenBackAfterMs = await adopt(page, unwanted)
}

await report(saw, async () => {
  if (!url || !unwanted) throw new Broken('VOLTREE_URL or VOLTREE_CANDIDATES is not set')
  await visitWith({}, visit)
})
