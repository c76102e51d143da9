"""The page in a headless Chromium, on the whole demo stack: embedded broker, SQLite, service."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from examples.demo import run_server
from examples.marketplace_service.database import sessions
from examples.marketplace_service.domain.models import Order
from examples.marketplace_service.events.dead_letters import DEAD_LETTERS, DEAD_LETTERS_GROUP
from examples.marketplace_service.settings import Settings
from playwright.async_api import Browser, Page, async_playwright, expect
from sqlalchemy import update
from tests.example.conftest import Tenant
from tests.machine import chromium, lack

from eventzr_kafka import KafkaSettings, embedded_broker

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHROMIUM = chromium()
expect.set_options(timeout=60_000)  # it ends what hangs
ARTEFACTS = Path("build/screenshots")

# Contrast as WCAG 2 defines it, of every element with text of its own against the nearest ground that is painted.
CONTRASTS = """
() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const rgb = parse(getComputedStyle(node).backgroundColor);
      if (rgb.length === 3 || rgb[3] > 0) return rgb;
    }
    return [255, 255, 255];
  };
  const own = (node) => [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim()) || node.value;
  return [...document.querySelectorAll("body *")].filter((node) => own(node) && node.checkVisibility())
    .map((node) => {
      const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), node.tagName, node.className, (node.textContent || node.value).slice(0, 30)];
    });
}
"""

CONTROLS = """
() => [...document.querySelectorAll("*")].flatMap((node, place) =>
  node.matches("a, button, input, select, [role=log]") ? [place] : [])
"""

NAMELESS = """
() => [...document.querySelectorAll("button, input, select, [role=log]")].filter((node) =>
  !(node.getAttribute("aria-label") || node.getAttribute("aria-labelledby") || node.labels?.length
    || (node.tagName === "BUTTON" && node.textContent.trim()))).map((node) => node.outerHTML)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    """The service, for all tests of this file; each has a tenant of its own."""
    database_url = f"sqlite+aiosqlite:///{shutil.copy(migrated, tmp_path_factory.mktemp('page'))}"
    with embedded_broker() as broker:
        broker.create_topics(DEAD_LETTERS, f"{DEAD_LETTERS_GROUP}.dlq")
        settings = Settings(database_url=database_url, port=0, playground=True)
        async with run_server(settings, KafkaSettings(brokers=broker.bootstrap_servers)) as server:
            yield f"http://127.0.0.1:{server.port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncGenerator[Browser]:
    if CHROMIUM is None:
        lack("Chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def tenant(url: str) -> AsyncGenerator[Tenant]:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        yield Tenant(client, f"tenant-{uuid.uuid4().hex}")


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncGenerator[Page]:
    """An empty page, in which nothing may go wrong."""
    page = await browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(15_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield page
    await page.close()
    assert wrong == []


async def show(page: Page, tenant: Tenant) -> None:
    await page.goto(f"{tenant.client.base_url}/?tenant={tenant.tenant_id}")
    await expect(page.locator("#connection")).to_have_text("live")


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name).first.click()


async def test_day_on_page_replays_a_letter(tenant: Tenant, page: Page) -> None:
    await show(page, tenant)

    await press(page, "Create listing")
    await press(page, "Publish: ")
    await press(page, "Order: ")
    await press(page, "Release escrow: ")  # too early: the payout waits
    await expect(page.locator("#orders tbody td").nth(5)).to_have_text("pending: USD\xa00.00")
    await press(page, "Pay an order that does not exist")
    await expect(page.locator("#dead-letters .bad")).to_have_text("open", timeout=30_000)
    await expect(page.locator("#failures li")).to_have_count(1)
    await page.screenshot(path=ARTEFACTS / "dead-letter-light.png", full_page=True)
    await page.emulate_media(color_scheme="dark")
    await page.screenshot(path=ARTEFACTS / "dead-letter-dark.png", full_page=True)

    await press(page, "Pay: ")
    await press(page, "Deliver: ")
    await expect(page.locator("#orders tbody td").nth(5)).to_have_text("complete: USD\xa05,000.00")
    await restore(tenant, (await page.locator("#dead-letters small").inner_text()).split("'")[1])
    await press(page, "Replay: ")

    await expect(page.locator("#dead-letters .done")).to_have_text("replayed", timeout=30_000)
    feed = await page.locator("#feed li").all_inner_texts()
    kinds = [" ".join(line.split()[1:3]) for line in reversed(feed)]
    assert kinds == [
        "out listing.created",
        "out listing.published",
        "out quote.submitted",
        "out quote.accepted",
        "out order.created",
        "in wallet.escrow.released",
        "in wallet.payment.completed",
        "out quote.submitted",
        "out quote.accepted",
        "out order.created",
        "in wallet.payment.completed",
    ]


async def restore(tenant: Tenant, order_id: str) -> None:
    """Make an order over 1 USD with this id, as if a backup had not had it yet."""
    (listing,) = await tenant.get("/listings")
    made = await tenant.order(listing=listing, amount=1)
    async with sessions.begin() as session:
        await session.execute(update(Order).where(Order.id == made["id"]).values(id=order_id))


@pytest.mark.parametrize(
    ("decision", "state", "refunded", "payout"),
    [
        ("Refund buyer: ", "refunded", "USD\xa0200.00", "void: USD\xa00.00"),
        ("Split: ", "paid", "USD\xa0100.00", "pending: USD\xa0100.00"),
        ("Pay seller: ", "paid", "\N{EN DASH}", "pending: USD\xa0200.00"),
    ],
)
async def test_dispute_is_decided(
    tenant: Tenant, page: Page, decision: str, state: str, refunded: str, payout: str
) -> None:
    await tenant.order(paid=True)
    await show(page, tenant)

    await press(page, "Dispute: ")
    await expect(page.locator("#orders tbody td").nth(3)).to_have_text("paid in dispute")
    assert await page.get_by_role("button", name="Cancel: ").count() == 0
    await press(page, decision)

    for column, text in ((3, state), (4, refunded), (5, payout)):
        await expect(page.locator("#orders tbody td").nth(column)).to_have_text(text)


async def test_feed_shows_news_of_its_tenant_only(tenant: Tenant, page: Page) -> None:
    await show(page, tenant)

    await Tenant(tenant.client, "tenant-b").listing(title="Of somebody else")
    await tenant.listing(title="<b>Seen at once</b>")

    await expect(page.locator("#feed li")).to_have_count(2)
    await expect(page.locator("#listings tbody td").first).to_have_text("<b>Seen at once</b>")
    assert "Of somebody else" not in await page.inner_text("body")


async def choose(page: Page, tenant: Tenant) -> None:
    await page.fill("#tenant", tenant.tenant_id)
    await page.keyboard.press("Tab")


async def test_silent_feed_is_asked_again(tenant: Tenant, page: Page) -> None:
    await page.clock.install()
    await tenant.listing(publish=False)
    await show(page, tenant)
    await expect(page.locator("#feed li")).to_have_count(1)

    async with page.expect_request("**/activity/stream"):
        await page.clock.fast_forward(60_000)
    await tenant.listing(publish=False)

    await expect(page.locator("#connection")).to_have_text("live")
    await expect(page.locator("#feed li")).to_have_count(2)


async def test_tenant_chosen_in_an_outage_is_shown_later(tenant: Tenant, browser: Browser) -> None:
    other = Tenant(tenant.client, uuid.uuid4().hex)
    await tenant.listing(title="Of the tenant before")
    await other.listing(title="Of the other one")
    page = await browser.new_page()
    await show(page, tenant)
    await expect(page.locator("#listings tbody td").first).to_have_text("Of the tenant before")

    await page.route("**/activity", lambda route: route.abort())
    await choose(page, other)
    await expect(page.locator("#message")).to_contain_text("The service does not respond")
    assert "Of the tenant before" not in await page.inner_text("body")
    await page.unroute("**/activity")

    await expect(page.locator("#listings tbody td").first).to_have_text("Of the other one")
    await expect(page.locator("#feed li")).to_have_count(2)
    await expect(page.locator("#message")).to_be_empty()
    await page.close()


async def test_controls_are_named_and_reached_by_tab(tenant: Tenant, page: Page) -> None:
    await tenant.order()
    await show(page, tenant)
    await page.get_by_role("button", name="Pay: ").wait_for()
    reached: list[Any] = []
    for _ in range(40):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    controls = await page.evaluate(CONTROLS)
    outline = await page.evaluate("getComputedStyle(document.querySelector('#theme')).outlineStyle")
    await page.focus("#tenant")
    await page.keyboard.press("Tab")

    assert await page.evaluate(NAMELESS) == []
    assert [place for place in reached if place in controls][: len(controls)] == controls
    assert outline == "none"
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


async def test_button_keeps_focus_after_a_key(tenant: Tenant, page: Page) -> None:
    await tenant.listing()
    await show(page, tenant)

    await page.get_by_role("button", name="Upgrade: ").focus()
    await page.keyboard.press("Enter")

    await expect(page.locator("#sellers tbody td").nth(3)).to_have_text("pro")
    await expect(page.get_by_role("button", name="Downgrade: ")).to_be_focused()


async def test_text_has_wcag_contrast_in_both_themes(tenant: Tenant, page: Page) -> None:
    await tenant.order()
    await show(page, tenant)
    await page.get_by_role("button", name="Pay: ").wait_for()

    for scheme, ground in (("light", "rgb(246, 247, 249)"), ("dark", "rgb(20, 23, 28)")):
        await page.select_option("#theme", scheme)
        await page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
        measured = await page.evaluate(CONTRASTS)

        assert len(measured) > 40
        assert [found for found in measured if found[0] < 4.5] == []
        assert await page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == ground
