// A device's life through its page: it is disabled with a reason, enabled again, and removed after a second click. It only
// reads what is on the page.
//
//   VOLTREE_URL     the console's address
//   VOLTREE_DEVICE  the id of a device that publishes nothing meanwhile
//   CHROMIUM, VOLTREE_SCREENSHOT  as in browser.mjs

import { at, Broken, report, until, visitWith } from './browser.mjs'

const WITHIN_MS = 20_000
const url = process.env.VOLTREE_URL
const device = process.env.VOLTREE_DEVICE
const saw = { url, device }

const shown = (testId) => document.querySelector(`[data-testid="${testId}"]`) !== null
const state = () => document.querySelector('[data-testid="device-state"]')?.dataset.state
const isDisabled = () => document.querySelector('[data-testid="device-state"]')?.dataset.state === 'DISABLED'
const isNotDisabled = () => {
  const state = document.querySelector('[data-testid="device-state"]')?.dataset.state
  return state !== undefined && state !== 'DISABLED'
}

async function visit(page) {
  await page.goto(url)
  await at(page, `open-${device}`).click({ timeout: WITHIN_MS })
  await until(page, `the page of ${device}`, WITHIN_MS, shown, 'life-disable')
  saw.before = await page.evaluate(state)
  await at(page, 'life-reason').fill('noisy')
  await at(page, 'life-disable').click()
  saw.disabledAfterMs = await until(page, `${device} is disabled`, WITHIN_MS, isDisabled)
  await until(page, `${device} can be enabled`, WITHIN_MS, shown, 'life-enable')
  await at(page, 'life-enable').click()
  saw.enabledAfterMs = await until(page, `${device} is enabled`, WITHIN_MS, isNotDisabled)
  await at(page, 'life-remove').click()
  await at(page, 'life-remove-really').click()
  saw.removedAfterMs = await until(page, `${device} is gone`, WITHIN_MS, shown, 'device-unknown')
}

await report(saw, async () => {
  if (!url || !device) throw new Broken('VOLTREE_URL or VOLTREE_DEVICE is not set')
  await visitWith({}, visit)
})
