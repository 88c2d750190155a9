/** Adds the overview to the panel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { OverviewView } from '../panels/overview';
import { IParslPanel, IRuns } from '../tokens';

export const overviewPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:overview',
  description: 'Shows counts, speed, workers, apps and notices of the run.',
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
      cancelAll: () => void app.commands.execute(Commands.cancelAll),
      retryFailed: () => void app.commands.execute(Commands.retryFailed),
      showTasks: (filter: { states?: string[]; apps?: string[] }) =>
        void app.commands.execute(Commands.showTasks, filter)
    };
    const content = new OverviewView(runs, actions, trans);
    panel.addView({ id: 'overview', label: trans.__('Overview'), rank: 10, content });
    app.commands.addCommand(Commands.showOverview, {
      label: trans.__('Show the Overview of the Run'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => panel.open('overview')
    });
    palette?.addItem({ command: Commands.showOverview, category: trans.__('Parsl') });
  }
};
