// The console as an operator uses it, in a real browser against a real node: the fleet comes online, every row keeps
// moving, and an actor killed through the page's own buttons comes back. It only reads what is on the page.
//
//   VOLTREE_URL         the console's address, e.g. http://127.0.0.1:8000/
//   CHROMIUM            the browser's executable (default /usr/bin/chromium)
//   VOLTREE_DEVICES     how many rows must be online (default 12)
//   VOLTREE_SCREENSHOT  where to write a picture, taken at the end or at the failure
//
// Prints one line of JSON with what it saw. Exits with 1 and a message on stderr when something is not as it must be.

import { Broken, report, until, visitWith } from './browser.mjs'

const ONLINE_WITHIN_MS = 60_000
const MOVES_WITHIN_MS = 15_000
const RESTARTS_WITHIN_MS = 20_000

const url = process.env.VOLTREE_URL
const wanted = Number(process.env.VOLTREE_DEVICES ?? 12)
const saw = { url, wanted }

/** Device id to state, as the rows show it. Runs in the page. */
function states() {
  const rows = [...document.querySelectorAll('[data-testid^="state-"]')]
  return Object.fromEntries(rows.map((row) => [row.dataset.testid.slice('state-'.length), row.dataset.state]))
}

/** Device id to the time it was last seen, in milliseconds. Runs in the page. */
function lastSeen() {
  const times = [...document.querySelectorAll('[data-testid^="last-seen-"]')]
  return Object.fromEntries(
    times.map((time) => [time.dataset.testid.slice('last-seen-'.length), Date.parse(time.dataset.time)]),
  )
}

async function waitForFleet(page) {
  saw.onlineAfterMs = await until(
    page,
    `${wanted} devices online`,
    ONLINE_WITHIN_MS,
    (count) => document.querySelectorAll('[data-testid^="state-"][data-state="ONLINE"]').length >= count,
    wanted,
    states,
  )
  const found = await page.evaluate(states)
  saw.states = found
  return Object.keys(found)
    .filter((id) => found[id] === 'ONLINE')
    .sort()
}

async function waitForMovement(page, ids) {
  const before = await page.evaluate(lastSeen)
  const after = {}
  const startedMs = Date.now()
  await until(
    page,
    'every online device seen again',
    MOVES_WITHIN_MS,
    // Each row has to move at least once; it may be another poll for each.
    (before) => {
      window.moved ??= {}
      for (const [id, ms] of Object.entries(before)) {
        const time = document.querySelector(`[data-testid="last-seen-${id}"]`)
        if (time && Date.parse(time.dataset.time) > ms) window.moved[id] = Date.parse(time.dataset.time) - ms
      }
      return Object.keys(before).every((id) => id in window.moved)
    },
    Object.fromEntries(ids.map((id) => [id, before[id]])),
    (before) => ({ still: Object.keys(before).filter((id) => !(id in window.moved)) }),
  )
  Object.assign(after, await page.evaluate(() => window.moved))
  saw.movedByMs = after
  saw.allMovedAfterMs = Date.now() - startedMs
}

async function killAndWait(page, path) {
  const at = (kind) => page.locator(`[data-testid="${kind}-${path}"]`)
  if ((await at('actor-row').count()) !== 1) throw new Broken(`the tree has no actor ${path}`)
  const restarts = Number(await at('restarts').getAttribute('data-value'))
  await at('kill').click()
  await at('kill-confirm').click()
  const afterMs = await until(
    page,
    `${path} restarted`,
    RESTARTS_WITHIN_MS,
    ([path, restarts]) => {
      const cell = document.querySelector(`[data-testid="restarts-${path}"]`)
      const row = document.querySelector(`[data-testid="actor-row-${path}"]`)
      return Number(cell?.dataset.value) > restarts && row?.dataset.status === 'running'
    },
    [path, restarts],
    ([path]) => document.querySelector(`[data-testid="actor-row-${path}"]`)?.innerText,
  )
  const now = Number(await at('restarts').getAttribute('data-value'))
  saw.killed = { path, restartsBefore: restarts, restartsAfter: now, backAfterMs: afterMs }
}

async function visit(page) {
  await page.goto(url)
  const ids = await waitForFleet(page)
  await waitForMovement(page, ids)
  await killAndWait(page, `node/devices/${ids[0]}`)
  saw.connection = await page.locator('[data-testid="connection-state"]').getAttribute('data-state')
  if (saw.connection !== 'live') throw new Broken(`the page says that the connection is ${saw.connection}`)
}

await report(saw, async () => {
  if (!url) throw new Broken('VOLTREE_URL is not set')
  await visitWith({}, visit)
})
