// Live fragments come over one stream. Where a proxy holds streams back, they are
// asked for instead.
const live = document.getElementById("live");
const state = document.getElementById("live-state");

if (live) {
  let failures = 0;
  let polling = 0;
  let last = Date.now();

  const show = (broken) => { if (state) state.hidden = !broken; };
  document.addEventListener("htmx:sse:after:message", () => {
    failures = 0;
    last = Date.now();
    show(false);
    if (polling) {
      clearInterval(polling);
      polling = 0;
    }
  });
  document.addEventListener("htmx:sse:error", (e) => {
    failures++;
    if (e.detail.status === 401 || e.detail.status === 403) location.reload();
    if (failures >= 2) show(true);
    if (failures >= 3) poll();
  });
  // The server writes at least every 20 seconds; when nothing comes through, ask.
  setInterval(() => {
    if (!document.hidden && Date.now() - last > 45000) poll();
  }, 5000);

  function poll() {
    if (polling) return;
    const ask = async () => {
      if (document.hidden || !live.isConnected) return;
      try {
        await htmx.ajax("GET", live.dataset.liveUrl + "&once=1", { source: document.body, swap: "none" });
        show(false);
      } catch {
        show(true);
      }
    };
    ask();
    polling = setInterval(ask, 15000);
  }

  // Signing out or a restart of the server ends the stream on purpose.
  live.addEventListener("bye", () => location.reload());
}
