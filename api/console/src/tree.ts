// The actors' flat list as a tree, and the tree as the lines on screen.

import { byName } from './fleet'
import { words } from './format'
import type { Actor, SupervisionEvent } from './graphql'
import { texts } from './texts'

export interface TreeNode {
  actor: Actor
  /** The last part of its path. */
  name: string
  children: TreeNode[]
  /** How many actors are below it, at any depth. */
  below: number
  /** How many of those are running. */
  runningBelow: number
}

export interface TreeLine {
  node: TreeNode
  depth: number
  open: boolean
}

/** Hangs each actor under its parent; one whose parent is not listed becomes a root rather than vanish. */
export function buildTree(actors: Actor[]): TreeNode[] {
  const nodes = new Map(actors.map((actor) => [actor.path, leaf(actor)]))
  const roots: TreeNode[] = []
  for (const node of nodes.values()) {
    const { parent, path } = node.actor
    const above = parent === null || parent === path ? undefined : nodes.get(parent)
    ;(above?.children ?? roots).push(node)
  }
  for (const root of roots) settle(root)
  return roots.sort((a, b) => byName(a.name, b.name))
}

function leaf(actor: Actor): TreeNode {
  return {
    actor,
    name: actor.path.slice(actor.path.lastIndexOf('/') + 1),
    children: [],
    below: 0,
    runningBelow: 0,
  }
}

function settle(node: TreeNode): void {
  node.children.sort((a, b) => byName(a.name, b.name))
  for (const child of node.children) {
    settle(child)
    node.below += 1 + child.below
    node.runningBelow += Number(isRunning(child.actor)) + child.runningBelow
  }
}

export function isRunning(actor: Actor): boolean {
  return statusOf(actor) === 'running'
}

/** The status in the spelling that texts and colours are listed by. */
export function statusOf(actor: Pick<Actor, 'status'>): string {
  return actor.status.toLowerCase()
}

/** The lines to show, top to bottom, leaving out what is inside closed groups. */
export function linesOf(roots: TreeNode[], closed: ReadonlySet<string>): TreeLine[] {
  const lines: TreeLine[] = []
  const visit = (node: TreeNode, depth: number): void => {
    const open = !closed.has(node.actor.path)
    lines.push({ node, depth, open })
    if (open) for (const child of node.children) visit(child, depth + 1)
  }
  for (const root of roots) visit(root, 0)
  return lines
}

/** Every actor that has others below it, the roots aside: what "collapse all" closes. */
export function groupsBelowRoots(roots: TreeNode[]): string[] {
  const groups: string[] = []
  const visit = (node: TreeNode): void => {
    if (node.children.length > 0) groups.push(node.actor.path)
    node.children.forEach(visit)
  }
  for (const root of roots) root.children.forEach(visit)
  return groups
}

/** Whether every word of the filter occurs in what the event says of itself, in the node's terms or the reader's. */
export function eventMatches(event: SupervisionEvent, filter: string): boolean {
  const name = event.event.toLowerCase()
  const told = texts.events.names[name] ?? ''
  const text =
    `${event.path} ${event.kind} ${words(event.kind)} ${name} ${told} ${event.reason ?? ''}`.toLowerCase()
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word))
}
