/** What JupyterLab's packages expect of a browser at import and jsdom does not have. */
if (typeof window !== 'undefined') {
  Object.assign(window, {
    DragEvent: class extends MouseEvent {},
    matchMedia: (media: string) => ({
      media,
      matches: false,
      addListener: () => undefined,
      addEventListener: () => undefined
    })
  });
}
