// The node's totals: the sum of all devices' rows and of the node's own.

import type { LedgerRow } from './graphql'

export interface Totals {
  received: number
  stored: number
  duplicate: number
  rejected: number
  deadLettered: number
  pending: number
  /** Rejections by reason, the most frequent first. */
  reasons: { reason: string; count: number }[]
  /** received minus the five ways a reading can go; anything but 0 is a fault of the node. */
  unaccounted: number
}

export function totalsOf(rows: LedgerRow[]): Totals {
  const sum = { received: 0, stored: 0, duplicate: 0, rejected: 0, deadLettered: 0, pending: 0 }
  const reasons = new Map<string, number>()
  for (const row of rows) {
    for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += row[key]
    for (const { reason, count } of row.rejectedByReason)
      reasons.set(reason, (reasons.get(reason) ?? 0) + count)
  }
  const gone = sum.stored + sum.duplicate + sum.rejected + sum.deadLettered + sum.pending
  return {
    ...sum,
    reasons: [...reasons]
      .map(([reason, count]) => ({ reason, count }))
      .filter(({ count }) => count > 0)
      .sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1)),
    unaccounted: sum.received - gone,
  }
}
