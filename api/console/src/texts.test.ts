import { afterEach, expect, it } from 'vitest'

import { number } from './format'
import { chooseLanguage, LANGUAGES, pick, texts } from './texts'

afterEach(() => {
  chooseLanguage('en')
  localStorage.clear()
})

/** Every text by its path; a text with placeholders as what it says when they are filled with their numbers. */
function flat(value: unknown, path = ''): [path: string, said: string, places: number][] {
  if (typeof value === 'string') return [[path, value, 0]]
  if (typeof value === 'function') {
    const places = Array.from({ length: value.length }, (_, index) => `{${index}}`)
    return [[path, String(value(...places)), value.length]]
  }
  return Object.entries(value as object).flatMap(([key, below]) => flat(below, `${path}.${key}`))
}

const said = Object.entries(LANGUAGES).map(([name, language]) => ({ name, texts: flat(language) }))

it('every language says the same things', () => {
  const [first, ...others] = said.map(({ texts }) => texts.map(([path]) => path).sort())
  for (const other of others) expect(other).toEqual(first)
})

it('every language uses every placeholder, and none is empty', () => {
  for (const { name, texts } of said) {
    for (const [path, text, places] of texts) {
      expect(text.trim(), `${name}${path}`).not.toBe('')
      for (let place = 0; place < places; place += 1) {
        expect(text, `${name}${path}`).toContain(`{${place}}`)
      }
    }
  }
})

it('every language takes as many placeholders as the others', () => {
  const counts = said.map(({ texts }) => Object.fromEntries(texts.map(([path, , places]) => [path, places])))
  for (const other of counts.slice(1)) expect(other).toEqual(counts[0])
})

it('French is French: hardly a text is the same as in English', () => {
  const english = new Map(flat(LANGUAGES.en).map(([path, text]) => [path, text]))
  const same = flat(LANGUAGES.fr).filter(([path, text]) => english.get(path) === text)
  expect(same.length).toBeLessThan(english.size / 8)
})

it('the language is the one chosen before, else the browser’s first that we speak, else English', () => {
  expect(pick('fr', ['en-US'])).toBe('fr')
  expect(pick(null, ['de-CH', 'fr-CH', 'en'])).toBe('fr')
  expect(pick(null, ['de', 'it'])).toBe('en')
  expect(pick('xx', ['fr'])).toBe('fr')
})

it('a chosen language is remembered, named in the page, and writes numbers its own way', () => {
  expect(number(1234.5, 1)).toBe('1,234.5')
  chooseLanguage('fr')
  expect(localStorage.getItem('voltree.language')).toBe('fr')
  expect(document.documentElement.lang).toBe('fr')
  expect(texts.states.ONLINE).toBe('En ligne')
  expect(number(1234.5, 1).replaceAll(/\s/g, ' ')).toBe('1 234,5')
})
