// What became of the orders given on a device's page: disable, enable, remove. One that was carried out leaves nothing to
// show, because the node's next answer shows the device as it is.

import { ask, DELETE_DEVICE, DISABLE, ENABLE, Refused } from './graphql'

export type Life = 'disable' | 'enable' | 'remove'
export type LifeOrder =
  | { phase: 'idle' }
  | { phase: 'asking' }
  | { phase: 'sending'; life: Life }
  | { phase: 'refused' | 'unknown'; message: string }

const MUTATIONS: Record<Life, string> = { disable: DISABLE, enable: ENABLE, remove: DELETE_DEVICE }
/** Said of an order for which the reader gave no reason. */
const IN_THE_CONSOLE = 'ordered in the console'

/** Sends the order; answers what is left to show of it. */
export async function sendLife(id: string, life: Life, reason: string): Promise<LifeOrder> {
  try {
    await ask(MUTATIONS[life], { id, reason: reason.trim() || IN_THE_CONSOLE })
    return { phase: 'idle' }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { phase: error instanceof Refused ? 'refused' : 'unknown', message }
  }
}
