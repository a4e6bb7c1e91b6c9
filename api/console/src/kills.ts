// What became of the kills asked for on this page: asked, sent, killed, back again. One entry per actor; the node's
// tree decides when an actor is back, never a timer.

import { ask, KILL, Refused, type Actor, type KilledActor } from './graphql'
import { isRunning } from './tree'

export type Kill =
  | { phase: 'asking' }
  | { phase: 'sending' }
  | { phase: 'restarting'; incarnation: number; restarts: number; sinceMs: number }
  | { phase: 'restarted'; restarts: number; sinceMs: number }
  | { phase: 'refused'; message: string }
  | { phase: 'unknown'; message: string }

export type Kills = Readonly<Record<string, Kill>>

/** How long a restart stays marked. */
export const MARKED_MS = 5_000
/** A kill from outside restarts at once, so an actor still missing after this long deserves a word. */
export const LATE_MS = 20_000

export function withKill(kills: Kills, path: string, kill: Kill): Kills {
  return { ...kills, [path]: kill }
}

export function withoutKill(kills: Kills, path: string): Kills {
  const { [path]: _gone, ...rest } = kills
  return rest
}

/** Sends the order; the outcome as the phase to show next. */
export async function sendKill(path: string): Promise<Kill> {
  try {
    const { data, receivedMs } = await ask<{ killActor: KilledActor }>(KILL, { path })
    const { incarnation, restarts } = data.killActor
    return { phase: 'restarting', incarnation, restarts, sinceMs: receivedMs }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { phase: error instanceof Refused ? 'refused' : 'unknown', message }
  }
}

/** Moves the entries on by what the tree says now. Returns the same object when nothing changed. */
export function follow(kills: Kills, actors: Actor[], nowMs: number): Kills {
  const byPath = new Map(actors.map((actor) => [actor.path, actor]))
  let next = kills
  for (const [path, kill] of Object.entries(kills)) {
    const moved = step(kill, byPath.get(path), nowMs)
    if (moved === kill) continue
    next = moved === null ? withoutKill(next, path) : withKill(next, path, moved)
  }
  return next
}

function step(kill: Kill, actor: Actor | undefined, nowMs: number): Kill | null {
  switch (kill.phase) {
    case 'restarting':
      if (actor && isBack(kill, actor))
        return { phase: 'restarted', restarts: actor.restarts, sinceMs: nowMs }
      return kill
    case 'restarted':
      return nowMs - kill.sinceMs > MARKED_MS ? null : kill
    case 'asking':
    case 'sending':
    case 'refused':
    case 'unknown':
      return kill
  }
}

function isBack(kill: { incarnation: number; restarts: number }, actor: Actor): boolean {
  const newer = actor.incarnation > kill.incarnation || actor.restarts > kill.restarts
  return newer && isRunning(actor)
}
