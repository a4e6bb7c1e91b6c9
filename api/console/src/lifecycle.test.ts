import { afterEach, expect, it, vi } from 'vitest'

import { sendLife, type Life } from './lifecycle'

afterEach(() => vi.unstubAllGlobals())

function nodeSays(reply: unknown): { query: string; variables: unknown }[] {
  const asked: { query: string; variables: unknown }[] = []
  vi.stubGlobal('fetch', (_url: string, { body }: { body: string }) => {
    asked.push(JSON.parse(body) as { query: string; variables: unknown })
    return Promise.resolve(new Response(JSON.stringify(reply)))
  })
  return asked
}

it('each order names the device and why, and leaves nothing to show', async () => {
  const asked = nodeSays({ data: {} })
  const orders: [Life, string][] = [
    ['disable', 'disableDevice'],
    ['enable', 'enableDevice'],
    ['remove', 'deleteDevice'],
  ]
  for (const [life, mutation] of orders) {
    expect(await sendLife('shed', life, ' noisy ')).toEqual({ phase: 'idle' })
    expect(asked.at(-1)?.query).toContain(mutation)
    expect(asked.at(-1)?.variables).toEqual({ id: 'shed', reason: 'noisy' })
  }
})

it('an order without a reason says where it came from', async () => {
  const asked = nodeSays({ data: {} })
  await sendLife('shed', 'disable', '  ')
  expect(asked[0]?.variables).toEqual({ id: 'shed', reason: 'ordered in the console' })
})

it('a refusal is told in the words of the node, and without an answer the outcome is unknown', async () => {
  nodeSays({ data: null, errors: [{ message: 'the configuration names pack' }] })
  expect(await sendLife('pack', 'remove', '')).toEqual({
    phase: 'refused',
    message: 'the configuration names pack',
  })
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('refused')))
  expect(await sendLife('pack', 'remove', '')).toMatchObject({ phase: 'unknown' })
})
