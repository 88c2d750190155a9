/** The commands of the extension, `parslab:verb-noun`. */
export const Commands = {
  openPanel: 'parslab:open-panel',
  showOverview: 'parslab:show-overview',
  showGraph: 'parslab:show-graph',
  /** `{states?: string[], apps?: string[]}` filters the table. */
  showTasks: 'parslab:show-tasks',
  /** `{task?: number}`; asks for the id when there is none. */
  showTask: 'parslab:show-task',
  /** `{task?: number}`; the selected task when there is none. */
  cancelTask: 'parslab:cancel-task',
  cancelAll: 'parslab:cancel-all',
  showBlocks: 'parslab:show-blocks',
  /** `{executor, block, action}`: hold, release, drain or cancel. */
  commandBlock: 'parslab:command-block',
  /** `{executor, blocks}` */
  scaleExecutor: 'parslab:scale-executor'
} as const;
