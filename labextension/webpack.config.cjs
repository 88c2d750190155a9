/** What Bokeh, which the timeline loads, needs of the bundle. */
const path = require('node:path');

const builder = path.dirname(require.resolve('@jupyter/builder/package.json'));
const rspack = require(require.resolve('@rspack/core', { paths: [builder] }));

const models = path.resolve(__dirname, '../node_modules/@bokeh/bokehjs/build/js/lib/models');
const { SwcJsMinimizerRspackPlugin: Minimizer, LightningCssMinimizerRspackPlugin: CssMinimizer } = rspack;

module.exports = {
  resolve: {
    alias: {
      // Bokeh asks for these two only for a formula in a text, and for a plot that wants WebGL. They are larger than
      // all the rest of it.
      [path.join(models, 'text/mathjax')]: false,
      [path.join(models, 'glyphs/webgl')]: false
    }
  },
  optimization: {
    minimizer: [
      // The style sheets of Bokeh name its classes, so these must keep their names.
      new Minimizer({ minimizerOptions: { compress: { keep_classnames: true }, mangle: { keep_classnames: true } } }),
      new CssMinimizer()
    ]
  }
};
