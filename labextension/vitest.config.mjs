// Unit tests: models and pure code in node, rendering in jsdom (a comment in the file asks for it).
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: import.meta.dirname,
  cacheDir: '../node_modules/.vite',
  test: {
    include: ['test/**/*.spec.{ts,tsx}'],
    environment: 'node',
    setupFiles: ['test/setup.ts'],
    testTimeout: 10000,
    server: { deps: { inline: [/@jupyterlab/, /@lumino/, /@jupyter\//, /@rjsf/] } }
  }
});
