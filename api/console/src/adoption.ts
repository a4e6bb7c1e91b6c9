// What became of the adoptions and dismissals ordered on this page. One entry per candidate whose order is under way or
// failed; one that succeeded has none, because the node's next list shows it.

import { ADOPT, ask, IGNORE, Refused, type Candidate } from './graphql'

export type Verdict = 'adopt' | 'ignore'
export type Order = { phase: 'sending'; verdict: Verdict } | { phase: 'refused' | 'unknown'; message: string }
export type Orders = Readonly<Record<string, Order>>

const MUTATIONS: Record<Verdict, string> = { adopt: ADOPT, ignore: IGNORE }

/** Sends the order; answers what is left to show of it, `null` where it was carried out. */
export async function sendVerdict(id: string, verdict: Verdict): Promise<Order | null> {
  try {
    await ask(MUTATIONS[verdict], { id })
    return null
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { phase: error instanceof Refused ? 'refused' : 'unknown', message }
  }
}

export function withOrder(orders: Orders, id: string, order: Order | null): Orders {
  const { [id]: _before, ...rest } = orders
  return order === null ? rest : { ...rest, [id]: order }
}

/** Those who wait come first, then those who were sent away; each by id. */
export function sortCandidates(candidates: readonly Candidate[]): Candidate[] {
  return [...candidates].sort(
    (a, b) => Number(a.ignored) - Number(b.ignored) || (a.id < b.id ? -1 : Number(a.id > b.id)),
  )
}
