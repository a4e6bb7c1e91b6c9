import { readFileSync } from 'node:fs'

import { expect, it } from 'vitest'

const css = readFileSync('src/styles/base.css', 'utf8')

/** The colours of the dark page, and those of the light one. */
function palettes(): Record<string, string>[] {
  const blocks = [...css.matchAll(/:root \{([^}]*)\}/g)].map((match) => match[1] ?? '')
  return blocks.map((block) =>
    Object.fromEntries(
      [...block.matchAll(/--([a-z-]+): (#[0-9a-f]{6})/g)].map((match) => [match[1], match[2]]),
    ),
  )
}

/** How much light a colour gives, as WCAG counts it. */
function luminance(hex: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

function contrast(one: string, other: string): number {
  const [bright = 0, dark = 0] = [luminance(one), luminance(other)].sort((a, b) => b - a)
  return (bright + 0.05) / (dark + 0.05)
}

const WRITTEN = ['text', 'dim', 'faint', 'accent', 'good', 'warn', 'bad', 'violet', 'blue']

it('every colour that is written in can be read on its ground, dark and light', () => {
  const found = palettes()
  expect(found).toHaveLength(2)
  for (const palette of found) {
    for (const ground of ['panel', 'raised']) {
      for (const name of WRITTEN) {
        const told = `${name} ${palette[name]} on ${ground} ${palette[ground]}`
        expect(contrast(palette[name] ?? '', palette[ground] ?? ''), told).toBeGreaterThanOrEqual(4.5)
      }
    }
  }
})

it('both schemes name the same colours', () => {
  const [dark, light] = palettes().map((palette) => Object.keys(palette).sort())
  expect(light).toEqual(dark)
})
