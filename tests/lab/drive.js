/*
 * What the tests do to JupyterLab itself, injected into every page. Only notebooks and cells are driven through here,
 * because typing them would test JupyterLab; what belongs to the panel is clicked and typed as a user does.
 */
window.drive = {
  finished: {},

  /** Whether JupyterLab has opened the notebook that the address of the page names. */
  addressed: false,

  /** The notebooks that are open. */
  widgets() {
    return [...window.jupyterapp.shell.widgets('main')].filter(widget => widget.content?.model?.cells);
  },

  books() {
    return this.widgets().map(widget => widget.context.path);
  },

  book(path) {
    const found = this.widgets().find(widget => widget.context.path === path);
    if (!found) {
      throw new Error(`${path} is not open`);
    }
    return found;
  },

  async open(path) {
    const widget = await window.jupyterapp.commands.execute('docmanager:open', { path });
    await widget.context.ready;
    await widget.sessionContext.ready;
  },

  /** Shows a notebook that is open. */
  show(path) {
    window.jupyterapp.shell.activateById(this.book(path).id);
  },

  /** Adds a cell at the end and runs it; gives its place. Ends of cells are noted in seconds since the epoch. */
  start(path, source) {
    const { content, id } = this.book(path);
    window.jupyterapp.shell.activateById(id);
    const cells = content.model.sharedModel;
    const blank = cells.cells.length === 1 && cells.getCell(0).getSource() === '';
    const place = blank ? 0 : cells.cells.length;
    if (blank) {
      cells.getCell(0).setSource(source);
    } else {
      cells.insertCell(place, { cell_type: 'code', source });
    }
    content.activeCellIndex = place;
    content.deselectAll();
    void window.jupyterapp.commands.execute('notebook:run-cell').then(() => {
      this.finished[`${path} ${place}`] = Date.now() / 1000;
    });
    return place;
  },

  /** When the cell ended, or null. */
  ended(path, place) {
    return this.finished[`${path} ${place}`] ?? null;
  },

  outputs(path, place) {
    return this.book(path).content.model.cells.get(place).outputs?.toJSON();
  },

  sources(path) {
    return [...this.book(path).content.model.cells].map(cell => cell.sharedModel.getSource());
  },

  async save(path) {
    await this.book(path).context.save();
  },

  kernel(path) {
    const { kernel } = this.book(path).sessionContext.session;
    return { id: kernel.id, status: kernel.status };
  },

  async interrupt(path) {
    await this.book(path).sessionContext.session.kernel.interrupt();
  },

  async restart(path) {
    await this.book(path).sessionContext.restartKernel();
  },

  /** Closes the notebook; its kernel goes on unless told otherwise. */
  async close(path, shutdown) {
    const { sessions } = window.jupyterapp.serviceManager;
    const session = shutdown && (await sessions.findByPath(path));
    if (session) {
      await sessions.shutdown(session.id);
    }
    for (const widget of this.widgets().filter(widget => widget.context.path === path)) {
      widget.context.model.dirty = false;
      widget.close();
    }
  },

  /**
   * Notes when the number in an attribute has been painted with a new value, as [number, seconds since the epoch].
   * Two frames later the browser has surely painted: callbacks of the first run before its painting.
   */
  watch(name, selector, attribute) {
    const seen = [];
    let last = null;
    const look = () => {
      const value = document.querySelector(selector)?.getAttribute(attribute) ?? null;
      if (value !== last) {
        last = value;
        requestAnimationFrame(() => requestAnimationFrame(() => seen.push([Number(value), Date.now() / 1000])));
      }
    };
    const observer = new MutationObserver(look);
    const options = { subtree: true, childList: true, attributes: true };
    observer.observe(document.querySelector('#parslab-panel'), options);
    look();
    window.watched = { ...window.watched, [name]: seen };
  },

  /** The longest time between two frames from now on, in `window.longest`. */
  feel() {
    let last = performance.now();
    window.longest = 0;
    const frame = () => {
      const now = performance.now();
      window.longest = Math.max(window.longest, now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }
};

{
  const wait = setInterval(() => {
    if (window.jupyterapp) {
      clearInterval(wait);
      window.jupyterapp.commands.commandExecuted.connect((_, { id, result }) => {
        if (id === 'filebrowser:open-path') {
          void result.finally(() => (window.drive.addressed = true));
        }
      });
    }
  }, 5);
}
