/** Adds the task graph to the panel. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IThemeManager } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Commands } from '../commands';
import { GraphView } from '../panels/graph';
import { IParslPanel, IRuns } from '../tokens';

export const graphPlugin: JupyterFrontEndPlugin<void> = {
  id: 'parslab:graph',
  description: 'Draws the graph of the tasks of the run.',
  autoStart: true,
  requires: [IRuns, IParslPanel],
  optional: [IThemeManager, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    runs: IRuns,
    panel: IParslPanel,
    themes: IThemeManager | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('parslab');
    const content = new GraphView(runs, panel.selection, trans);
    panel.addView({ id: 'graph', label: trans.__('Graph'), rank: 20, content });
    themes?.themeChanged.connect(() => content.restyle());
    app.commands.addCommand(Commands.showGraph, {
      label: trans.__('Show the Task Graph'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => panel.open('graph')
    });
    palette?.addItem({ command: Commands.showGraph, category: trans.__('Parsl') });
  }
};
