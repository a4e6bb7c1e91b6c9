import { afterEach, expect, it, vi } from 'vitest'

import { sendVerdict, sortCandidates, withOrder, type Orders } from './adoption'
import { candidate } from './fixtures'

afterEach(() => vi.unstubAllGlobals())

function nodeSays(reply: unknown): { asked: { query: string; variables: unknown }[] } {
  const asked: { query: string; variables: unknown }[] = []
  vi.stubGlobal('fetch', (_url: string, { body }: { body: string }) => {
    asked.push(JSON.parse(body) as { query: string; variables: unknown })
    return Promise.resolve(new Response(JSON.stringify(reply)))
  })
  return { asked }
}

it('those who wait come before those who were sent away', () => {
  const list = [candidate('c', { ignored: true }), candidate('b'), candidate('a')]
  expect(sortCandidates(list).map(({ id }) => id)).toEqual(['a', 'b', 'c'])
})

it('an adoption names the candidate, and leaves nothing to show', async () => {
  const { asked } = nodeSays({ data: { adoptDevice: { id: 'a' } } })
  expect(await sendVerdict('a', 'adopt')).toBeNull()
  expect(asked[0]?.query).toContain('adoptDevice')
  expect(asked[0]?.variables).toEqual({ id: 'a' })
})

it('a refusal is told in the words of the node', async () => {
  nodeSays({ data: null, errors: [{ message: 'only administrators may' }] })
  expect(await sendVerdict('a', 'ignore')).toEqual({ phase: 'refused', message: 'only administrators may' })
})

it('without an answer the outcome is unknown', async () => {
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('refused')))
  expect(await sendVerdict('a', 'adopt')).toMatchObject({ phase: 'unknown' })
})

it('an order replaces the one before, and goes when it was carried out', () => {
  const sending: Orders = withOrder({}, 'a', { phase: 'sending', verdict: 'adopt' })
  const refused = withOrder(sending, 'a', { phase: 'refused', message: 'no' })
  expect(refused).toEqual({ a: { phase: 'refused', message: 'no' } })
  expect(withOrder(refused, 'a', null)).toEqual({})
})
