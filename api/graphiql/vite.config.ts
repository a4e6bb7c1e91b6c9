import { defineConfig, type Plugin } from 'vite'

// GraphiQL's style sheet carries 340 kB of web fonts as data: addresses, which the page's security policy refuses.
// Every system has fonts; src/page.css names them.
const withoutFonts: Plugin = {
  name: 'without-fonts',
  enforce: 'pre',
  transform(code, id) {
    return id.endsWith('/graphiql/dist/style.css')
      ? code.replaceAll(/@font-face\s*\{[^}]*\}/g, '')
      : undefined
  },
}

// The built page is committed and embedded into the binary, so the same sources must give the same bytes:
// no time stamps, no source maps (they hold paths), nothing that depends on the machine.
export default defineConfig({
  // Where the node serves these files.
  base: '/graphiql/',
  plugins: [withoutFonts],
  build: {
    target: 'es2022',
    sourcemap: false,
    // The page's security policy allows files of the node itself only, so nothing may become a data: address.
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
    // Three quarters are React, GraphiQL and graphql-js, which the page needs at once.
    chunkSizeWarningLimit: 1200,
    // Most of what is bundled asks for its notice to travel along.
    license: { fileName: 'LICENSES.md' },
    rolldownOptions: {
      onwarn(warning, warn) {
        // "use client" means something to servers that render React; there is none here.
        if (warning.code !== 'MODULE_LEVEL_DIRECTIVE') warn(warning)
      },
    },
  },
})
