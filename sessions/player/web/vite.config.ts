import { defineConfig } from "vite";

// The page runs under `default-src 'self'; script-src 'self' 'wasm-unsafe-eval'`: nothing may be inlined as a data: address.
export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});
