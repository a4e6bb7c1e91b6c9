// What must hold on every page of the console, in a real browser against a real node: French where the reader's browser
// is French and a switch that is remembered, no sideways scrolling and room for thumbs on a phone, a way back from the
// page of a device that does not exist, and a keyboard that gets everywhere.
//
//   VOLTREE_URL  the console's address, e.g. http://127.0.0.1:8000/
//
// Prints one line of JSON with what it saw. Exits with 1 and a message on stderr when something is not as it must be.

import { at, Broken, PHONE, report, until, visitWith } from './browser.mjs'

const DEVICE = 'pack-01'
const SHOWN_WITHIN_MS = 60_000
const THUMB_PX = 40

const url = process.env.VOLTREE_URL
const saw = { url }

async function fleet(page) {
  await page.goto(url)
  await at(page, `open-${DEVICE}`).waitFor({ timeout: SHOWN_WITHIN_MS })
}

async function devicePage(page, id = DEVICE) {
  await page.goto(new URL(`#/devices/${id}`, url).href)
  await until(
    page,
    `the page of ${id} with a chart`,
    SHOWN_WITHIN_MS,
    () => Number(document.querySelector('[data-testid^="series-"][data-count]')?.dataset.count ?? 0) > 1,
  )
}

async function says(page, what, text) {
  await until(
    page,
    `${what} says “${text}”`,
    SHOWN_WITHIN_MS,
    (text) => document.body.innerText.includes(text),
    text,
    () => document.body.innerText.slice(0, 400),
  )
}

async function languageOf(page) {
  return page.evaluate(() => document.documentElement.lang)
}

async function french(page) {
  await fleet(page)
  await says(page, 'the fleet', 'Arbre de supervision')
  await devicePage(page)
  await says(page, 'the device', 'État de charge')
  // 26,40 V: the numbers are French too.
  await until(page, 'a decimal comma', SHOWN_WITHIN_MS, () =>
    /^\d+,\d+$/.test(document.querySelector('[data-testid="figure-voltage"]')?.innerText ?? ''),
  )
  if ((await languageOf(page)) !== 'fr')
    throw new Broken(`the page says that its language is ${await languageOf(page)}`)
  await at(page, 'language-en').click()
  await says(page, 'the switched page', 'State of charge')
  await page.reload()
  await says(page, 'the page loaded again', 'State of charge')
  if ((await languageOf(page)) !== 'en') throw new Broken('the switched language is not named in the page')
  saw.french = true
}

/** What is too small for a thumb, and whether the page scrolls sideways. Runs in the page. */
function fit(thumb) {
  const controls = [...document.querySelectorAll('a[href], button, input, select')].filter(
    (control) =>
      control.checkVisibility() && control.getClientRects().length > 0 && !control.closest('thead'),
  )
  const small = controls
    .map((control) => ({
      what: control.dataset.testid ?? control.innerText,
      box: control.getBoundingClientRect(),
    }))
    .filter(({ box }) => box.height < thumb - 0.5 || box.width < thumb - 0.5)
    .map(({ what, box }) => `${what} ${Math.round(box.width)}×${Math.round(box.height)}`)
  const { scrollWidth } = document.documentElement
  return { scrollWidth, width: innerWidth, controls: controls.length, small: small.slice(0, 10) }
}

async function mustFit(page, where) {
  const found = await page.evaluate(fit, THUMB_PX)
  if (found.scrollWidth > found.width) throw new Broken(`${where} scrolls sideways: ${JSON.stringify(found)}`)
  if (found.small.length > 0) throw new Broken(`${where} is too small for a thumb: ${found.small.join(', ')}`)
  return found.controls
}

function phone(locale) {
  return async (page) => {
    await fleet(page)
    const seen = { fleet: await mustFit(page, `the fleet (${locale})`) }
    await at(page, `more-${DEVICE}`).tap()
    await at(page, `details-${DEVICE}`).waitFor()
    await at(page, `kill-node/devices/${DEVICE}`).tap()
    await mustFit(page, `the fleet with a question open (${locale})`)
    await at(page, `open-${DEVICE}`).tap()
    await devicePage(page)
    seen.device = await mustFit(page, `the device (${locale})`)
    await at(page, 'range-24h').tap()
    await until(
      page,
      'the other range',
      SHOWN_WITHIN_MS,
      () =>
        document.querySelector(
          '[data-testid="chart"][data-range="24h"] [data-count]:not([data-count="0"])',
        ) !== null,
    )
    await mustFit(page, `the device over a day (${locale})`)
    saw[`phone-${locale}`] = seen
  }
}

async function unknown(page) {
  await page.goto(new URL('#/devices/nobody%20here%3F', url).href)
  await at(page, 'device-unknown').waitFor({ timeout: SHOWN_WITHIN_MS })
  await says(page, 'the page', 'nobody here?')
  await at(page, 'back').click()
  await at(page, `fleet-row-${DEVICE}`).waitFor({ timeout: SHOWN_WITHIN_MS })
  const state = await at(page, 'connection-state').getAttribute('data-state')
  if (state !== 'live') throw new Broken(`after an unknown device the connection is ${state}`)
  saw.unknown = true
}

/** By keyboard alone: to a device, over its ranges, and back to where one was. */
async function keyboard(page) {
  await fleet(page)
  await at(page, `open-${DEVICE}`).focus()
  await page.keyboard.press('Enter')
  await at(page, 'device-page').waitFor()
  await at(page, 'range-1h').waitFor({ timeout: SHOWN_WITHIN_MS })
  const focused = () => page.evaluate(() => document.activeElement?.dataset.testid ?? null)
  for (let presses = 0; (await focused()) !== 'range-1h'; presses += 1) {
    if (presses > 40) throw new Broken(`40 times Tab did not lead to the ranges, but to ${await focused()}`)
    await page.keyboard.press('Tab')
  }
  await page.keyboard.press('Enter')
  await until(
    page,
    'the hour',
    SHOWN_WITHIN_MS,
    () => document.querySelector('[data-testid="chart"][data-range="1h"]') !== null,
  )
  await page.goBack()
  await until(
    page,
    'the focus where it was',
    SHOWN_WITHIN_MS,
    (id) => document.activeElement?.dataset.testid === `open-${id}`,
    DEVICE,
    () => document.activeElement?.outerHTML.slice(0, 200),
  )
  saw.keyboard = true
}

await report(saw, async () => {
  if (!url) throw new Broken('VOLTREE_URL is not set')
  await visitWith({ locale: 'fr-FR' }, french)
  await visitWith({ ...PHONE, locale: 'en-GB' }, phone('en'))
  await visitWith({ ...PHONE, locale: 'fr-FR', colorScheme: 'dark' }, phone('fr'))
  await visitWith({ locale: 'en-GB' }, unknown)
  await visitWith({ locale: 'en-GB', reducedMotion: 'reduce' }, keyboard)
})
