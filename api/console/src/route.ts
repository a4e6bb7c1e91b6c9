// Which page the address names. Pages live behind `#/`, so that any web server may serve the console, and so that the
// fleet page's own anchors (`#tree`) stay what they are.

import { computed, onScopeDispose, ref } from 'vue'

export type Route = { page: 'fleet' } | { page: 'device'; id: string }

const DEVICE = '#/devices/'

/** The page that this hash names; what names none is the fleet. */
export function routeOf(hash: string): Route {
  if (!hash.startsWith(DEVICE)) return { page: 'fleet' }
  const written = hash.slice(DEVICE.length)
  try {
    return { page: 'device', id: decodeURIComponent(written) }
  } catch {
    // A stray % is no reason to show nothing: the page will say that it knows no such device.
    return { page: 'device', id: written }
  }
}

/** The address of a device's page. */
export function linkTo(id: string): string {
  return DEVICE + encodeURIComponent(id)
}

/** Follows the address bar until the component that called it goes. */
export function useRoute() {
  const hash = ref(location.hash)
  const follow = (): void => void (hash.value = location.hash)
  window.addEventListener('hashchange', follow)
  onScopeDispose(() => window.removeEventListener('hashchange', follow))
  return computed(() => routeOf(hash.value))
}
