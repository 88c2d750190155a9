/** Adds the details of the selected task to the panel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, ICommandPalette, InputDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { DrawerView } from '../panels/drawer';
import { IParslPanel, IRuns } from '../tokens';

export const drawerPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:drawer',
  description: 'Shows everything known of one task.',
  autoStart: true,
  requires: [IRuns, IParslPanel],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    panel: IParslPanel,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const actions = {
      cancelTask: (task: number) => void app.commands.execute(Commands.cancelTask, { task }),
      cancelCell: (cell: string, client: number) =>
        void app.commands.execute(Commands.cancelCell, { cell, client }),
      showCell: (cell: string) => void app.commands.execute(Commands.showCell, { cell }),
      copy: (text: string) => Clipboard.copyToSystem(text)
    };
    panel.setDrawer(new DrawerView(runs, panel.selection, actions, trans));
    app.commands.addCommand(Commands.showTask, {
      label: trans.__('Show a Task…'),
      describedBy: { args: { type: 'object', properties: { task: { type: 'number' } } } },
      isEnabled: () => Boolean(runs.current?.info),
      execute: async args => {
        const asked = args.task ?? (await InputDialog.getNumber({ title: trans.__('Id of the task') })).value;
        if (typeof asked === 'number') {
          panel.open();
          panel.selection.select(asked);
        }
      }
    });
    palette?.addItem({ command: Commands.showTask, category: trans.__('Parsl') });
  }
};
