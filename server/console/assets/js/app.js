// What every page runs. Each module works on attributes that components write,
// listens on the document, and so needs nothing when parts of a page are replaced.
import "./theme.js";
import "./dialog.js";
import "./stepup.js";
import "./time.js";
import "./copy.js";
import "./hint.js";
import "./form.js";
import "./table.js";
import "./toast.js";
import "./keys.js";
import "./idle.js";
import "./live.js";
import "./chart.js";
import "./passkey.js";
