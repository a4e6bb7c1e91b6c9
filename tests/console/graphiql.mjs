// GraphiQL as a visitor of /graphql uses it, in a real browser against a real node: the page comes up, its documentation
// knows the schema, a question is answered, a subscription lives, and nothing is asked of anybody but the node.
//
//   VOLTREE_URL         the node's address, e.g. http://127.0.0.1:8000
//   CHROMIUM            the browser's executable (default /usr/bin/chromium)
//   VOLTREE_SCREENSHOT  where to write a picture, taken at the end or at the failure
//
// Prints one line of JSON with what it saw. Exits with 1 and a message on stderr when something is not as it must be.

import { createRequire } from 'node:module'

const require = createRequire(new URL('../../api/console/package.json', import.meta.url))

const WITHIN_MS = 30_000

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

const node = new URL(process.env.VOLTREE_URL ?? 'http://127.0.0.1:8000')
const screenshot = process.env.VOLTREE_SCREENSHOT
const saw = { asked: [], sockets: [] }

/** A promise of the page that was not kept. */
class Broken extends Error {}

/** Waits until the answer's pane holds what `pattern` describes, and returns all of it. */
async function answer(page, what, pattern) {
  const text = () => document.querySelector('.graphiql-response')?.innerText ?? ''
  try {
    await page.waitForFunction(
      (source) => new RegExp(source).test(document.querySelector('.graphiql-response')?.innerText ?? ''),
      pattern,
      { timeout: WITHIN_MS, polling: 100 },
    )
  } catch (error) {
    if (error.name !== 'TimeoutError') throw error
    throw new Broken(`${what}: no answer like ${pattern}; the page shows ${await page.evaluate(text)}`, {
      cause: error,
    })
  }
  return await page.evaluate(text)
}

/** Replaces what stands in the editor, as a person who pastes would, and runs it. */
async function ask(page, question) {
  await page.locator('.graphiql-query-editor .CodeMirror').click()
  await page.keyboard.press('Control+A')
  await page.keyboard.insertText(question)
  await page.keyboard.press('Control+Enter')
}

async function readDocumentation(page) {
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click()
  await page.locator('.graphiql-doc-explorer-content').getByText('Subscription').first().waitFor({ timeout: WITHIN_MS })
}

async function visit(page) {
  const problems = []
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  page.on('request', (request) => saw.asked.push(request.url()))
  page.on('websocket', (socket) => saw.sockets.push(socket.url()))
  await page.goto(new URL('/graphql', node).href)
  await readDocumentation(page)
  await ask(page, '{ node { name version } devices { id state } }')
  const text = await answer(page, 'a question', '"version": "\\d+\\.\\d+\\.\\d+"')
  const device = /"id": "([^"]+)"/.exec(text)?.[1]
  if (!device) throw new Broken(`the node has no device to watch: ${text}`)
  await ask(page, `subscription { telemetryReceived(deviceId: "${device}") { metricName value time } }`)
  const first = await answer(page, 'a subscription', '"telemetryReceived"')
  const more = Date.now() + WITHIN_MS
  while ((await answer(page, 'a subscription', '"telemetryReceived"')) === first) {
    if (Date.now() > more) throw new Broken(`the subscription says nothing after ${first}`)
    await page.waitForTimeout(50)
  }
  const elsewhere = [...saw.asked, ...saw.sockets].filter((url) => new URL(url).host !== node.host)
  if (elsewhere.length > 0) throw new Broken(`the page asked others: ${elsewhere.join(' ')}`)
  if (saw.sockets.length === 0) throw new Broken('the subscription opened no WebSocket')
  if (problems.length > 0) throw new Broken(`the browser complained: ${problems.join(' | ')}`)
}

async function main() {
  const { chromium } = require('playwright-core')
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
  const browser = await chromium.launch({ executablePath, args: ARGUMENTS })
  try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 } })
    try {
      await visit(page)
    } finally {
      if (screenshot) await page.screenshot({ path: screenshot })
    }
  } finally {
    await browser.close()
  }
}

try {
  await main()
  console.log(JSON.stringify({ ok: true, requests: saw.asked.length, sockets: saw.sockets }))
} catch (error) {
  // What the browser's driver says comes in colour; logs want it plain and in one line.
  const plain = String(error?.message ?? error)
    .replaceAll(/\u001b\[\d+m/g, '')
    .replaceAll(/\s+/g, ' ')
    .trim()
  const message = error instanceof Broken ? plain : `could not look at GraphiQL: ${plain}`
  console.log(JSON.stringify({ ok: false, error: message, ...saw }))
  console.error(message)
  process.exitCode = 1
}
