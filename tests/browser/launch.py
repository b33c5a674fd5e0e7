"""How Chromium is started: without a sandbox, for root, and without requests of its own."""

#: Chromium obeys the last --disable-features only, so those of Playwright (chromiumSwitches.ts) are repeated.
_DISABLED_BY_PLAYWRIGHT = [
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
]
#: The suggestions of the address bar are pages, loaded anew for each window, and took more time than ours.
#: A spare process is started ahead for each page, and most tests don't get to use it.
_DISABLED = ["WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess"]

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    f"--disable-features={','.join([*_DISABLED_BY_PLAYWRIGHT, *_DISABLED])}",
]
