import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { startPolling, waitMs, type PollState } from './poll'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A question whose answers the test gives by hand. */
function byHand() {
  const open: { resolve: () => void; reject: (error: Error) => void }[] = []
  const asked = vi.fn(() => new Promise<void>((resolve, reject) => void open.push({ resolve, reject })))
  const settle = async (how: 'resolve' | 'reject'): Promise<void> => {
    open.shift()?.[how](new Error('no answer') as never)
    await vi.advanceTimersByTimeAsync(0)
  }
  return { asked, settle }
}

describe('polling', () => {
  it('asks once a second, and never while a question is open', async () => {
    const { asked, settle } = byHand()
    const poller = startPolling(asked, () => {})
    await vi.advanceTimersByTimeAsync(5_000)
    poller.now()
    expect(asked).toHaveBeenCalledTimes(1)
    await settle('resolve')
    // The question asked for in between follows at once.
    expect(asked).toHaveBeenCalledTimes(2)
    await settle('resolve')
    await vi.advanceTimersByTimeAsync(999)
    expect(asked).toHaveBeenCalledTimes(2)
    await vi.advanceTimersByTimeAsync(1)
    expect(asked).toHaveBeenCalledTimes(3)
    poller.stop()
  })

  it('waits longer after each failure, and heals by itself', async () => {
    const states: PollState[] = []
    const { asked, settle } = byHand()
    const poller = startPolling(asked, (state) => states.push(state))
    await settle('reject')
    await vi.advanceTimersByTimeAsync(1_000)
    await settle('reject')
    expect(states.at(-1)).toEqual({ failures: 2, nextMs: Date.now() + 2_000 })
    await vi.advanceTimersByTimeAsync(2_000)
    expect(asked).toHaveBeenCalledTimes(3)
    await settle('resolve')
    expect(states.at(-1)).toEqual({ failures: 0, nextMs: Date.now() + 1_000 })
    poller.stop()
  })

  it('rests while the page is hidden and asks as soon as it is shown', async () => {
    const { asked, settle } = byHand()
    const poller = startPolling(asked, () => {})
    await settle('resolve')
    poller.setHidden(true)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(asked).toHaveBeenCalledTimes(1)
    poller.setHidden(false)
    expect(asked).toHaveBeenCalledTimes(2)
    poller.stop()
  })

  it('asks nothing after it was stopped', async () => {
    const { asked, settle } = byHand()
    const poller = startPolling(asked, () => {})
    poller.stop()
    await settle('resolve')
    await vi.advanceTimersByTimeAsync(60_000)
    expect(asked).toHaveBeenCalledTimes(1)
  })
})

it('the pause doubles up to a bound', () => {
  expect([0, 1, 2, 3, 4, 5, 6, 40].map(waitMs)).toEqual([1000, 1000, 2000, 4000, 8000, 15000, 15000, 15000])
})
