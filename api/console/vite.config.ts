import vue from '@vitejs/plugin-vue'
import { loadEnv } from 'vite'
import { defineConfig } from 'vitest/config'

// The built page is committed and embedded into the binary, so the same sources must give the same bytes:
// no time stamps, no source maps (they hold paths), nothing that depends on the machine.
export default defineConfig(({ mode }) => {
  const node = loadEnv(mode, '.', 'VOLTREE_')['VOLTREE_URL'] ?? 'http://127.0.0.1:8000'
  return {
    plugins: [vue()],
    build: {
      target: 'es2022',
      sourcemap: false,
      // The page's security policy allows files of the node itself only, so nothing may become a data: address.
      assetsInlineLimit: 0,
      modulePreload: false,
      cssCodeSplit: false,
      reportCompressedSize: false,
    },
    server: {
      proxy: {
        '/graphql': {
          target: node,
          // A node refuses requests whose Origin is not its own; in development the origin is Vite's.
          configure: (proxy) => {
            proxy.on('proxyReq', (request) => request.removeHeader('origin'))
            proxy.on('proxyReqWs', (request) => request.removeHeader('origin'))
          },
          changeOrigin: true,
          ws: true,
        },
      },
    },
    test: { environment: 'happy-dom', include: ['src/**/*.test.ts'] },
  }
})
