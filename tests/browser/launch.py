"""How Chromium is started: without a sandbox, for root, and without work and requests of its own."""

#: Chromium obeys only the last --disable-features, so this repeats Playwright's list (chromiumSwitches.ts).
DISABLED_BY_PLAYWRIGHT = [
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "TcpPortRandomizationWin",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
    "msForceBrowserSignIn",
    "msEdgeUpdateLaunchServicesPreferredVersion",
]
#: The suggestions of the address bar are pages, loaded anew for each window, and took more time than ours.
#: Chromium starts a spare process for each page, which most tests never use.
_DISABLED = ["WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess"]

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    f"--disable-features={','.join([*DISABLED_BY_PLAYWRIGHT, *_DISABLED])}",
    # A page is open for a moment, too short for an optimized compilation of its scripts and axe to pay.
    "--js-flags=--no-opt,--no-maglev",
]
