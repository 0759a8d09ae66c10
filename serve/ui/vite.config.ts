import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Addresses of files are relative, so that the console works below any path. The page is
// served at `console`, and its files at `console/files`.
export default defineConfig({
  base: "./",
  plugins: [react()],
  build: {
    outDir: "../static",
    emptyOutDir: true,
    assetsDir: "console/files",
    assetsInlineLimit: 0, // the policy of the page allows no inline scripts and styles
    chunkSizeWarningLimit: 600, // the editor, which is loaded on demand
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        // What changes seldom is apart, so that browsers keep it over an upgrade.
        codeSplitting: {
          groups: [
            { name: "react", test: /node_modules[\\/](react|react-dom|scheduler)[\\/]/ },
            { name: "tables", test: /node_modules[\\/]@tanstack[\\/]/ },
          ],
        },
      },
    },
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
