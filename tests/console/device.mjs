// A device's page as an operator uses it, in a real browser against a real node that is killed and started again: the
// chart moves by itself without asking for its history again, an actor that is killed is seen coming back, and after
// the node's own death the chart is filled with what was stored before the page heard of it.
//
//   VOLTREE_BINARY  the voltree to run
//   VOLTREE_DATA    an empty directory for its data
//
// Prints one line of JSON with what it saw. Exits with 1 and a message on stderr when something is not as it must be.

import { at, Broken, eventually, report, until, visitWith } from './browser.mjs'
import { startDemo } from './node.mjs'

const DEVICE = 'pack-01'
const METRIC = 'pack_voltage'
const SHOWN_WITHIN_MS = 60_000
const MOVES_WITHIN_MS = 20_000
const RESTARTS_WITHIN_MS = 20_000
/** A silence of five seconds is a gap on the chart; this is a little more. */
const DOWN_FOR_MS = 8_000
const MISSED_SAMPLES = 5

const saw = { device: DEVICE }

/** What the page shows of the device. Runs in the page. */
function shown([device, metric]) {
  const found = (testId) => document.querySelector(`[data-testid="${testId}"]`)
  const series = found(`series-${metric}`)?.dataset ?? {}
  return {
    device: found('device-page')?.dataset.device === device,
    state: found('device-state')?.dataset.state,
    readings: Number(found('device-readings')?.dataset.value ?? Number.NaN),
    live: found('chart-live')?.dataset.live === 'true',
    count: Number(series.count ?? 0),
    counts: [...document.querySelectorAll('[data-testid^="series-"][data-count]')].map((one) =>
      Number(one.dataset.count),
    ),
    gaps: Number(series.gaps ?? 0),
    oldest: Number(series.oldest ?? Number.NaN),
    newest: Number(series.newest ?? Number.NaN),
    value: found(`series-value-${metric}`)?.innerText,
    banner: found('connection-banner') !== null,
    connection: found('connection-state')?.dataset.state,
  }
}

const look = (page) => page.evaluate(shown, [DEVICE, METRIC])

/** Waits until what the page shows satisfies `holds`. */
async function shows(page, what, withinMs, holds) {
  const startedMs = Date.now()
  const { now } = await eventually(what, withinMs, async () => {
    const now = await look(page)
    return { ok: holds(now), now }
  })
  return { ...now, afterMs: Date.now() - startedMs }
}

async function open(page, node) {
  await page.goto(node.url)
  await at(page, `open-${DEVICE}`).click({ timeout: SHOWN_WITHIN_MS })
  if (!page.url().endsWith(`#/devices/${DEVICE}`)) throw new Broken(`the link leads to ${page.url()}`)
  const now = await shows(
    page,
    'the device online with a chart',
    SHOWN_WITHIN_MS,
    (now) => now.device && now.state === 'ONLINE' && now.live && now.count > 1,
  )
  saw.openAfterMs = now.afterMs
  await page.goBack()
  await at(page, `fleet-row-${DEVICE}`).waitFor({ timeout: MOVES_WITHIN_MS })
  await page.goForward()
  await shows(page, 'the device again', MOVES_WITHIN_MS, (now) => now.device && now.live && now.count > 1)
}

/** New samples must appear by the stream alone. */
async function watchItMove(page) {
  // The page's own first questions, which make sure that nothing was missed, are over once all has moved twice.
  const loaded = await shows(page, 'every course', MOVES_WITHIN_MS, (now) =>
    now.counts.every((count) => count > 0),
  )
  await shows(page, 'two more samples of each', MOVES_WITHIN_MS, (now) =>
    now.counts.every((count, index) => count >= loaded.counts[index] + 2),
  )
  let asked = 0
  const count = (request) => {
    if (/query (History|Buckets)\b/.test(request.postData() ?? '')) asked += 1
  }
  page.on('request', count)
  const before = await look(page)
  const after = await shows(
    page,
    'five more samples and readings',
    MOVES_WITHIN_MS,
    (now) => now.count >= before.count + 5 && now.readings >= before.readings + 5,
  )
  page.off('request', count)
  if (asked > 0) throw new Broken(`the history was asked for ${asked} times while the stream was open`)
  saw.moved = { samples: after.count - before.count, readings: after.readings - before.readings }
}

async function killItsActor(page) {
  const path = `node/devices/${DEVICE}`
  const restarts = Number(await at(page, `restarts-${path}`).getAttribute('data-value'))
  await at(page, `kill-${path}`).click()
  await at(page, `kill-confirm-${path}`).click()
  const backAfterMs = await until(
    page,
    `${path} restarted, and its own events say so`,
    RESTARTS_WITHIN_MS,
    ([path, restarts]) => {
      const cell = document.querySelector(`[data-testid="restarts-${path}"]`)
      const row = document.querySelector(`[data-testid="actor-row-${path}"]`)
      const events = [...document.querySelectorAll('[data-testid="device-actor"] [data-event]')]
      const told = events.some((event) => event.dataset.event === 'restarted' && event.dataset.path === path)
      return Number(cell?.dataset.value) > restarts && row?.dataset.status === 'running' && told
    },
    [path, restarts],
    () => document.querySelector('[data-testid="device-actor"]')?.innerText,
  )
  const { newest } = await look(page)
  await shows(page, 'samples after the kill', MOVES_WITHIN_MS, (now) => now.newest > newest + 2_000)
  saw.killed = { path, backAfterMs }
}

/** Samples of the metric that the node has in this range, oldest first. */
async function stored(node, fromMs, toMs) {
  const [from, to] = [fromMs, toMs].map((ms) => JSON.stringify(new Date(ms).toISOString()))
  const data = await node.query(
    `{ deviceTelemetry(deviceId: "${DEVICE}", metricName: "${METRIC}", from: ${from}, to: ${to}, limit: 100000)` +
      ' { points { time } } }',
  )
  return data.deviceTelemetry.points.map(({ time }) => Date.parse(time))
}

async function restartTheNode(page, node, data) {
  const before = await look(page)
  await node.kill()
  const lost = await shows(
    page,
    'the banner',
    MOVES_WITHIN_MS,
    (now) => now.banner && now.connection === 'lost',
  )
  saw.bannerAfterMs = lost.afterMs
  const { newest } = await look(page)
  await eventually('the node is down for long enough', 3 * DOWN_FOR_MS, async () => ({
    ok: Date.now() - newest > DOWN_FOR_MS,
  }))
  // The page is held back until the node has stored what the page can only know from the history.
  await page.context().setOffline(true)
  const again = await startDemo(process.env.VOLTREE_BINARY, data, node.address)
  await eventually('the node stored samples nobody watched', SHOWN_WITHIN_MS, async () => {
    const missed = (await stored(again, newest + 1, Date.now() + 60_000)).length
    return { ok: missed >= MISSED_SAMPLES, missed }
  })
  const held = await look(page)
  if (held.newest !== newest || !held.banner) throw new Broken('the page heard the node while it was offline')
  const backMs = Date.now()
  await page.context().setOffline(false)
  const healed = await shows(
    page,
    'the banner gone and numbers moving',
    SHOWN_WITHIN_MS,
    (now) => !now.banner && now.connection === 'live' && now.live && now.newest > backMs,
  )
  const filled = await eventually('the chart has what the node has', MOVES_WITHIN_MS, async () => {
    const now = await look(page)
    const known = await stored(again, now.oldest, now.newest + 1)
    const missed = known.filter((ms) => ms > newest && ms < backMs).length
    return {
      ok: now.count === known.length && missed >= MISSED_SAMPLES && now.gaps > before.gaps,
      missed,
      now,
    }
  })
  saw.healed = {
    afterMs: healed.afterMs,
    missedAndFilled: filled.missed,
    gaps: filled.now.gaps,
    points: filled.now.count,
  }
  return again
}

await report(saw, async () => {
  const { VOLTREE_BINARY: binary, VOLTREE_DATA: data } = process.env
  if (!binary || !data) throw new Broken('VOLTREE_BINARY and VOLTREE_DATA must be set')
  let node = await startDemo(binary, data)
  try {
    // While the node is down the browser says so for every question; nothing else is expected.
    const expected =
      /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_INTERNET_DISCONNECTED|ERR_EMPTY_RESPONSE|ERR_SOCKET/
    await visitWith({ expected }, async (page) => {
      await open(page, node)
      await watchItMove(page)
      await killItsActor(page)
      node = await restartTheNode(page, node, data)
    })
  } finally {
    await node.kill()
  }
})
