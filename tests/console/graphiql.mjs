// GraphiQL as a visitor of /graphql uses it, in a real browser against a real node: the page comes up, its documentation
// knows the schema, a question is answered, a subscription lives, and nothing is asked of anybody but the node.
//
//   VOLTREE_URL  the node's address, e.g. http://127.0.0.1:8000
//
// Prints one line of JSON with what it saw. Exits with 1 and a message on stderr when something is not as it must be.

import { Broken, eventually, report, until, visitWith } from './browser.mjs'

const WITHIN_MS = 30_000

const node = new URL(process.env.VOLTREE_URL ?? 'http://127.0.0.1:8000')
const saw = { asked: [], sockets: [] }

/** Waits until the answer's pane holds what `pattern` describes, and returns all of it. */
async function answer(page, what, pattern) {
  const shown = () => document.querySelector('.graphiql-response')?.innerText ?? ''
  const matches = (source) =>
    new RegExp(source).test(document.querySelector('.graphiql-response')?.innerText ?? '')
  await until(page, what, WITHIN_MS, matches, pattern, shown)
  return await page.evaluate(shown)
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
  await eventually('the subscription goes on', WITHIN_MS, async () => {
    const now = await answer(page, 'a subscription', '"telemetryReceived"')
    return { ok: now !== first, now }
  })
  const elsewhere = [...saw.asked, ...saw.sockets].filter((url) => new URL(url).host !== node.host)
  if (elsewhere.length > 0) throw new Broken(`the page asked others: ${elsewhere.join(' ')}`)
  if (saw.sockets.length === 0) throw new Broken('the subscription opened no WebSocket')
}

await report(saw, () => visitWith({}, visit))
