// Takes the README's pictures of the console from a running node, so that they can be made again when it changes.
//
//   VOLTREE_URL     the console's address, e.g. http://127.0.0.1:8000/ of `voltree demo`
//   VOLTREE_DEVICE  whose page is shown (default pack-02)
//   VOLTREE_SHOTS   where the pictures go (default docs/images)
//
// The demo should have run for a quarter of an hour, so that the chart is full. Prints the size of each picture, and
// fails if one is too large for a README.

import { mkdir, stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

import { Broken, DESKTOP, PHONE, report, until, visitWith } from './browser.mjs'

const MOST_BYTES = 250_000
const SHOWN_WITHIN_MS = 60_000
const DEVICE = process.env.VOLTREE_DEVICE ?? 'pack-02'

const url = process.env.VOLTREE_URL
const folder = process.env.VOLTREE_SHOTS ?? fileURLToPath(new URL('../../docs/images/', import.meta.url))
const saw = { url }

const PICTURES = [
  { name: 'fleet', hash: '#/', context: DESKTOP },
  { name: 'device', hash: `#/devices/${DEVICE}`, context: { viewport: { width: 1400, height: 1040 } } },
  { name: 'phone', hash: `#/devices/${DEVICE}`, context: PHONE },
]

/** The rate is known with the second snapshot, the chart once its three courses are there. Runs in the page. */
function complete(device) {
  const rate = /\d/.test(document.querySelector('[data-testid="total-rate"]')?.innerText ?? '')
  if (!device) return rate
  const series = [...document.querySelectorAll('[data-testid^="series-"][data-count]')]
  const live = document.querySelector('[data-testid="chart-live"]')?.dataset.live === 'true'
  return rate && live && series.length === 3 && series.every((one) => Number(one.dataset.count) > 10)
}

async function take({ name, hash, context }) {
  const path = `${folder}/${name}.png`
  await visitWith({ locale: 'en-GB', colorScheme: 'dark', ...context }, async (page) => {
    await page.goto(new URL(hash, url).href)
    await until(page, `all of ${name}`, SHOWN_WITHIN_MS, complete, hash !== '#/')
    await page.screenshot({ path })
  })
  const { size } = await stat(path)
  saw[name] = size
  if (size > MOST_BYTES) throw new Broken(`${path} has ${size} bytes; the README takes ${MOST_BYTES}`)
}

await report(saw, async () => {
  if (!url) throw new Broken('VOLTREE_URL is not set')
  await mkdir(folder, { recursive: true })
  for (const picture of PICTURES) await take(picture)
})
