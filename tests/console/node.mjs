// A demo node that a test may stop and start again at the same address with the same data.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

import { Broken, eventually } from './browser.mjs'

const READY_WITHIN_MS = 60_000

/** Starts the demo of this binary on this data; `http` is where it listens, or any free port. */
export async function startDemo(binary, data, http = '127.0.0.1:0') {
  const process = spawn(binary, ['demo', '--http', http, '--mqtt', '127.0.0.1:0', '--data', data], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const ended = new Promise((resolve) => process.once('exit', resolve))
  const node = {
    url: null,
    address: null,
    /** kill -9, and its end. */
    async kill() {
      process.kill('SIGKILL')
      await ended
    },
    /** The data of an answer without errors. */
    query: (query) => query_(node.url, query),
  }
  for await (const line of createInterface({ input: process.stdout })) {
    const url = /^\s*console\s+(\S+)$/.exec(line)?.[1]
    if (!url) continue
    node.url = url
    node.address = new URL(url).host
    break
  }
  process.stdout.resume()
  if (node.url === null) throw new Broken(`${binary} demo did not start on ${http}`)
  await eventually('the demo is ready', READY_WITHIN_MS, async () => {
    const answer = await fetch(new URL('/health/ready', node.url)).catch((error) => ({
      status: String(error),
    }))
    return { ok: answer.ok === true, status: answer.status }
  })
  return node
}

async function query_(url, query) {
  const answer = await fetch(new URL('/graphql', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  })
  const { data, errors } = await answer.json()
  if (errors) throw new Broken(`${query}: ${JSON.stringify(errors)}`)
  return data
}
