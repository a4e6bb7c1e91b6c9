// Every word on the page, in the reader's language: the one chosen here before, else the browser's, else English.
// `texts` is reactive, so a page that is open changes its language where it stands.

import { computed, shallowReactive } from 'vue'

import { en, type Texts } from './texts/en'
import { fr } from './texts/fr'

export type { Texts }
export type Language = 'en' | 'fr'

export const LANGUAGES: Record<Language, Texts> = { en, fr }
const KEPT_AS = 'voltree.language'

/** The texts of the language now shown. */
export const texts: Texts = shallowReactive({ ...LANGUAGES[preferred()] })

/** The language now shown. */
export const language = computed<Language>(() => languageOf(texts.locale) ?? 'en')

/** Shows another language, and remembers it where the browser lets us. */
export function chooseLanguage(chosen: Language): void {
  show(chosen)
  try {
    localStorage.setItem(KEPT_AS, chosen)
  } catch {
    // A browser that keeps nothing still shows the language until the page is closed.
  }
}

/** The language for someone who chose `kept` before and whose browser asks for `wanted`, best first. */
export function pick(kept: string | null, wanted: readonly string[]): Language {
  const asked = kept === null ? wanted : [kept, ...wanted]
  for (const tag of asked) {
    const found = languageOf(tag)
    if (found) return found
  }
  return 'en'
}

function languageOf(tag: string): Language | null {
  const short = tag.toLowerCase().split('-')[0] ?? ''
  return short in LANGUAGES ? (short as Language) : null
}

function preferred(): Language {
  let kept: string | null = null
  try {
    kept = localStorage.getItem(KEPT_AS)
  } catch {
    // As above: without a memory the browser's own languages decide.
  }
  const chosen = pick(kept, navigator.languages ?? [navigator.language])
  document.documentElement.lang = chosen
  return chosen
}

function show(chosen: Language): void {
  Object.assign(texts, LANGUAGES[chosen])
  document.documentElement.lang = chosen
}
