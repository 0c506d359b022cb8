"""The pages in a real browser."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tasks.tracking.ledger import EntryKind, Ledger, NewEntry
from tests.deployments.endpoint.served import (
    DENT,
    OTHER_ID,
    OTHER_SECRET,
    environment_of,
    picture,
    serving,
)

DRIVER = shutil.which("chromedriver")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
SIDE = 320
# What a person does with the mouse, which no driver can do across the window's edge.
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[1], {type: "image/png"}));
for (const type of ["dragover", "drop"])
  document.getElementById("drop").dispatchEvent(
    new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
"""

pytestmark = pytest.mark.skipif(not (DRIVER and BROWSER), reason="no chromium with chromedriver on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def page(browser, open_endpoint):
    """The page, its models listed."""
    resize(browser, 1280)
    browser.get(open_endpoint.address)
    wait(browser, lambda: texts(browser, "#model option"))
    browser.get_log("browser")
    return browser


def resize(browser, width):
    metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def wait(browser, condition):
    return WebDriverWait(browser, 15, poll_frequency=0.05).until(lambda _: condition())


def texts(browser, selector):
    # In one step: what the page replaces meanwhile would be stale.
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)", selector
    )


def choose(page, path, model):
    Select(page.find_element(By.ID, "model")).select_by_value(model)
    page.find_element(By.ID, "file").send_keys(str(path))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "grey part.png"
    cv2.imwrite(str(path), np.full((SIDE, SIDE, 3), 128, np.uint8))
    return path


def test_models_are_listed(page):
    assert texts(page, "#list h3") == ["colours", "dents"]
    assert texts(page, "#list .aliases li") == ["staging is version 1 running", "production is version 1 running"]
    rows = texts(page, "#list article:last-child tbody tr")
    assert [row.split("\t")[:5] for row in rows] == [
        [version, "not started", "staged", "0.750", "0.813"] for version in ("2", "1")
    ]
    assert texts(page, "#model option") == ["colours@staging (version 1)", "dents@production (version 1)"]


@pytest.mark.parametrize("width", [1280, 390])
def test_box_is_drawn_where_the_model_sees_it(page, photo, width):
    resize(page, width)
    choose(page, photo, "dents@production")
    wait(page, lambda: texts(page, "#verdict") == ["dents version 1 finds 1 box"])
    assert texts(page, "#findings .finding") == ["dent\n90.0 %"]
    assert texts(page, "#boxes span") == ["dent 90 %"]
    image, box = (page.find_element(By.CSS_SELECTOR, selector) for selector in ("#image", "#boxes .box"))
    assert image.size["width"] > 250
    place = {
        "left": box.location["x"] - image.location["x"],
        "top": box.location["y"] - image.location["y"],
        **box.size,
    }
    lengths = {"left": "width", "top": "height", "width": "width", "height": "height"}
    for side, ratio in DENT.items():
        assert place[side] == pytest.approx(ratio * image.size[lengths[side]], abs=1.5)
    # Nothing of the page is wider than the window.
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    require_frame(page, image, box)


def require_frame(page, image, box):
    """Check on the pixels that the box is a frame: its colour on the edge, the picture's grey within."""
    shot = Image.open(io.BytesIO(image.screenshot_as_png)).convert("RGB")
    colour = page.execute_script("return getComputedStyle(arguments[0]).borderTopColor", box)
    red, green, blue = (int(one) for one in colour.removeprefix("rgb(").rstrip(")").split(","))
    scale = shot.width / image.size["width"]
    middle = (DENT["left"] + DENT["width"] / 2, DENT["top"] + DENT["height"] / 2)
    assert shot.getpixel((int(middle[0] * shot.width), int(middle[1] * shot.height))) == (128, 128, 128)
    lower = int((DENT["top"] + DENT["height"]) * shot.height - scale)
    assert (red, green, blue) in {shot.getpixel((int(middle[0] * shot.width), lower + step)) for step in (-1, 0, 1)}


def test_dropped_image_is_classified(page):
    Select(page.find_element(By.ID, "model")).select_by_value("colours@staging")
    page.execute_script(DROP, base64.b64encode(picture("green")).decode(), "leaf.png")
    wait(page, lambda: texts(page, "#verdict") == ["colours version 1 says green"])
    assert texts(page, "#findings .finding") == ["green\n100.0 %"]
    assert texts(page, "#caption") == ["leaf.png, 96 \N{MULTIPLICATION SIGN} 96 pixels"]
    page.find_element(By.CSS_SELECTOR, "#all summary").click()
    assert len(texts(page, "#confidences .finding")) == 3


def test_slider_lowers_the_bar(page, photo):
    choose(page, photo, "dents@production")
    wait(page, lambda: texts(page, "#boxes span") == ["dent 90 %"])
    page.execute_script(
        "const bar = document.getElementById('confidence'); bar.value = 20;"
        "for (const type of ['input', 'change']) bar.dispatchEvent(new Event(type));"
    )
    wait(page, lambda: sorted(texts(page, "#boxes span")) == ["dent 90 %", "hole 30 %"])
    assert texts(page, "#percent") == ["20 %"]
    page.find_element(By.ID, "own").click()
    wait(page, lambda: texts(page, "#boxes span") == ["dent 90 %"])


def test_bad_file_is_told_and_the_next_good_one_answered(page, photo, tmp_path):
    bad = tmp_path / "<b>bad.png"
    bad.write_bytes(b"no image")
    choose(page, bad, "dents@production")
    wait(page, lambda: "JPEG" in page.find_element(By.ID, "trouble").text)
    assert page.find_element(By.ID, "trouble").text.startswith("<b>bad.png: The content is none of")
    assert not page.find_element(By.ID, "result").is_displayed()
    choose(page, photo, "dents@production")
    wait(page, lambda: page.find_element(By.ID, "result").is_displayed())
    assert not page.find_element(By.ID, "trouble").is_displayed()


def test_browser_has_nothing_to_complain_about(page, photo):
    choose(page, photo, "dents@production")
    wait(page, lambda: texts(page, "#boxes span"))
    assert page.get_log("browser") == []


def test_every_control_has_a_name(page):
    for selector in ("select", "input", "button", "[role=region]"):
        for one in page.find_elements(By.CSS_SELECTOR, selector):
            assert one.accessible_name, one.get_attribute("outerHTML")


def test_dark_mode_turns_the_page_dark(page):
    def paper():
        colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(int(one) for one in colour.removeprefix("rgb(").rstrip(")").split(",")) / 3

    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = paper()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert dark < 40 < 200 < paper()


def test_page_of_an_environment_shows_what_stands_there(browser, served_home, tmp_path):
    with serving(served_home, tmp_path, "--environment", "production", "--no-auth") as endpoint:
        browser.get(endpoint.address)
        wait(browser, lambda: texts(browser, "#model option"))
        assert texts(browser, "#models-title") == ["Models in production"]
        assert texts(browser, "#list .aliases li") == ["production is version 1 running"]
        assert texts(browser, "#model option") == ["dents@production (version 1)"]


NASTY = "<b>false alarms</b> since noon"


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """The address of a ledger of its own: dents went to production, was replaced, and came back; a move is open."""
    address = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    ledger = Ledger(address)
    moves = [
        ("staging", "promote", "", "1", EntryKind.DONE, "policy", "passed its gate"),
        ("production", "promote", "", "1", EntryKind.DONE, "Ann", "finds all dents"),
        ("production", "promote", "1", "2", EntryKind.DONE, "Bob", "better"),
        ("production", "rollback", "2", "1", EntryKind.DONE, "Ann", NASTY),
        ("staging", "promote", "1", "2", EntryKind.REVERTED, "policy", "the endpoint was slow"),
        ("staging", "promote", "1", "2", None, "Eve", "once more"),
    ]
    for environment, action, before, after, end, who, why in moves:
        for kind in filter(None, (EntryKind.BEGUN, end)):
            last = len(ledger.entries("dents"))
            entry = NewEntry(
                model="dents",
                kind=kind,
                action=action,
                environment=environment,
                from_version=before,
                to_version=after,
                who=who,
                why=why,
                begins=last if kind is end else 0,
            )
            ledger.append(entry, expected_sequence=last)
    ledger.close()
    return address


@pytest.fixture(scope="module")
def status_endpoint(served_home, moved, tmp_path_factory):
    folder, variables = tmp_path_factory.mktemp("status"), {"KEENEYE_DATABASE": moved}
    with serving(served_home, folder, "--no-auth", environment=variables) as running:
        yield running


def test_status_is_what_the_command_tells(served_home, moved, status_endpoint):
    with status_endpoint.client(auth=None) as client:
        told = client.get("/v1/status").json()
    ended = subprocess.run(
        [sys.executable, "-m", "flows", "status", "--json"],
        env=environment_of(served_home) | {"KEENEYE_DATABASE": moved},
        capture_output=True,
        check=True,
    )
    assert told == json.loads(ended.stdout)
    colours, dents = told["models"]
    assert [(one["environment"], one["version"], one["since"]) for one in colours["places"]] == [("staging", "1", "")]
    assert [(one["environment"], one["version"], one["by"]) for one in dents["places"]] == [
        ("staging", "1", "policy"),
        ("production", "1", "Ann"),
    ]
    assert dents["places"][1]["metrics"] == {"macro_f1": 0.812, "map_50": 0.75}
    assert [one["outcome"] for one in dents["history"]] == ["begun", "reverted", "done", "done", "done", "done"]


def test_status_of_models_that_a_key_may_use(endpoint):
    with endpoint.client(auth=(OTHER_ID, OTHER_SECRET)) as client:
        assert [one["model"] for one in client.get("/v1/status").json()["models"]] == ["colours"]


def test_status_of_one_environment_tells_of_no_other(served_home, moved, tmp_path):
    options = ("--environment", "production", "--no-auth")
    variables = {"KEENEYE_DATABASE": moved}
    with serving(served_home, tmp_path, *options, environment=variables) as endpoint, endpoint.client(auth=None) as one:
        (dents,) = one.get("/v1/status").json()["models"]
    assert [one["environment"] for one in dents["places"]] == ["production"]
    assert [one["environment"] for one in dents["history"]] == ["production"] * 3


@pytest.fixture
def status_page(browser, status_endpoint):
    browser.get(f"{status_endpoint.address}/status")
    resize(browser, 1280)
    wait(browser, lambda: texts(browser, "#list article"))
    return browser


@pytest.mark.parametrize("width", [1280, 390])
def test_status_page_shows_what_stands_where(status_page, width):
    resize(status_page, width)
    assert texts(status_page, "#list h3") == ["colours", "dents"]
    assert texts(status_page, ".place h4") == ["staging: version 1", "staging: version 1", "production: version 1"]
    assert texts(status_page, ".place .figures") == ["macro-F1 0.875", *["macro-F1 0.812, mAP50 0.750"] * 2]
    before_ledger, _, production = texts(status_page, ".place .quiet")
    assert before_ledger == "since before there was a ledger"
    assert re.fullmatch(r"since 20\d\d-\d\d-\d\d \d\d:\d\d UTC by Ann", production)
    assert texts(status_page, ".place blockquote") == ["passed its gate", NASTY]
    rows = [row.split("\t")[1:] for row in texts(status_page, "tbody tr")]
    assert rows[:3] == [
        ["staging", "1 \u2192 2", "promote", "under way", "Eve", "once more"],
        ["staging", "1 \u2192 2", "promote", "taken back", "policy", "the endpoint was slow"],
        ["production", "2 \u2192 1", "rollback", "done", "Ann", NASTY],
    ]
    assert status_page.execute_script("return document.documentElement.scrollWidth") <= width
    assert not [one for one in status_page.get_log("browser") if one["level"] == "SEVERE"]


def test_pages_lead_to_each_other(page):
    start = page.current_url
    page.find_element(By.LINK_TEXT, "Status").click()
    wait(page, lambda: texts(page, ".place h4"))
    assert page.current_url.endswith("/status")
    page.find_element(By.LINK_TEXT, "Try an image").click()
    wait(page, lambda: texts(page, "#model option"))
    assert page.current_url == start
