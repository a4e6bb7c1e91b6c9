import { expect, it } from 'vitest'

import { ledgerRow } from './fixtures'
import { totalsOf } from './ledger'

it('totals add the devices and the node’s own row, reasons most frequent first', () => {
  const totals = totalsOf([
    ledgerRow({ deviceId: 'a', received: 10, stored: 7, duplicate: 1, deadLettered: 1, pending: 1 }),
    ledgerRow({
      deviceId: 'b',
      received: 3,
      stored: 2,
      rejected: 1,
      rejectedByReason: [
        { reason: 'bad_value', count: 1 },
        { reason: 'busy', count: 0 },
      ],
    }),
    ledgerRow({ received: 5, rejected: 5, rejectedByReason: [{ reason: 'bad_topic', count: 5 }] }),
  ])
  expect(totals).toEqual({
    received: 18,
    stored: 9,
    duplicate: 1,
    rejected: 6,
    deadLettered: 1,
    pending: 1,
    unaccounted: 0,
    reasons: [
      { reason: 'bad_topic', count: 5 },
      { reason: 'bad_value', count: 1 },
    ],
  })
})

it('a ledger that does not balance says by how much', () => {
  expect(totalsOf([ledgerRow({ received: 10, stored: 8 })]).unaccounted).toBe(2)
})
