/** Adds the command that cancels the tasks of a cell to the palette, the menu of cells and the toolbar of notebooks. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { CellNumbers } from '../connection/cells';
import { cancelCellIcon } from '../icons';
import { notify } from '../notify';
import type { IRun } from '../tokens';
import { IRuns } from '../tokens';

export const cellPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:cell',
  description: 'Cancels the tasks that a cell has called.',
  autoStart: true,
  requires: [IRuns, INotebookTracker],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    tracker: INotebookTracker,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const numbers = CellNumbers.of(tracker);
    // While the panel has never been open, the status of its run is `waiting`; the command works then, too.
    const hasRun = () => ['live', 'waiting'].includes(runs.current?.status ?? '');
    const cellOf = (args: { cell?: unknown }) => (typeof args.cell === 'string' ? args.cell : numbers.active);
    app.commands.addCommand(Commands.cancelCell, {
      label: args =>
        typeof args.cell === 'string'
          ? trans.__('Cancel the Tasks of %1', args.cell)
          : trans.__("Cancel This Cell's Tasks"),
      caption: trans.__('Cancel all tasks that the cell has called and that have not ended'),
      icon: args => (args.toolbar === true ? cancelCellIcon : undefined),
      describedBy: {
        args: { type: 'object', properties: { cell: { type: 'string' }, client: { type: 'number' } } }
      },
      isEnabled: args => hasRun() && cellOf(args) !== '',
      isVisible: hasRun,
      execute: async args => {
        const cell = cellOf(args);
        const client = typeof args.client === 'number' ? args.client : -1;
        const done = runs.current?.cancelCell(cell, client);
        await notify(done?.then(text => (text.includes(cell) ? text : `${text} (${cell})`)));
      }
    });
    // The settings schema places the button. It is visible while there is a run, and enabled for a cell that has run.
    const changed = () => app.commands.notifyCommandChanged(Commands.cancelCell);
    let followed: IRun | null = null;
    let shown = false;
    const onRun = () => {
      if (hasRun() !== shown) {
        shown = !shown;
        changed();
      }
    };
    const onCurrent = () => {
      followed?.changed.disconnect(onRun);
      followed = runs.current;
      followed?.changed.connect(onRun);
      onRun();
    };
    runs.currentChanged.connect(onCurrent);
    onCurrent();
    tracker.activeCellChanged.connect(changed);
    numbers.changed.connect(changed);
    palette?.addItem({ command: Commands.cancelCell, category: trans.__('Parsl') });
    app.contextMenu.addItem({
      command: Commands.cancelCell,
      selector: '.jp-Notebook .jp-CodeCell',
      rank: 9
    });
  }
};
