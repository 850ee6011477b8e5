"""Files in the Data API's folder: found at run time, cut into batches, served unchanged, refused one by one."""

import csv
import gzip
import io

import pytest

from mlops_lab.files import FILE_FAULT

ROWS = [
    ["1", "?", "None", "007", "", "2.5", 'a "quoted", text'],
    ["2", "?", "NA", "070", "3", "1e3", "two\nlines"],
    ["3", "x", "nan", "700", "4", "-0.5", "último"],
]
HEADER = ["number", "mark", "word", "code", "gap", "size", "free text"]


def as_csv(rows, header=HEADER) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def ask(api, name, query="group_number=1"):
    return api.get(f"/{name}/data?{query}")


@pytest.mark.parametrize("gzipped", [False, True])
def test_texts_are_passed_on_as_they_stand(serve, gzipped):
    path = serve.folder / ("Odd Name.csv.gz" if gzipped else "Odd Name.csv")
    path.write_bytes(gzip.compress(as_csv(ROWS)) if gzipped else as_csv(ROWS))
    api = serve()
    assert api.get("/odd_name/columns").json() == HEADER
    assert ask(api, "odd_name").json()["data"] == ROWS
    assert api.get("/odd_name/data.csv").content == as_csv(ROWS)


def test_objects_have_the_types_of_a_frame(serve):
    (serve.folder / "things.csv").write_bytes(as_csv(ROWS))
    rows = ask(serve(), "things", "group_number=1&day=1").json()["data"]
    assert [list(row.values()) for row in rows] == [
        [1, "?", "None", "007", None, 2.5, 'a "quoted", text'],
        [2, "?", "NA", "070", 3.0, 1000.0, "two\nlines"],
        [3, "x", "nan", "700", 4.0, -0.5, "último"],
    ]
    assert [type(row["number"]) for row in rows] == [int, int, int]
    assert type(rows[1]["gap"]) is float


def test_byte_order_mark_crlf_and_empty_lines(serve):
    (serve.folder / "windows.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n\r\n3,4\r\n\r\n")
    api = serve()
    assert api.get("/windows/columns").json() == ["a", "b"]
    assert ask(api, "windows").json()["data"] == [["1", "2"], ["3", "4"]]


def test_slices_are_the_file(serve):
    rows = [[str(n), f"text {n}" if n % 3 else "over\ntwo lines", ""] for n in range(23)]
    (serve.folder / "many.csv").write_bytes(as_csv(rows, ["n", "text", "empty"]))
    (serve.folder / "datasets.toml").write_text("[many]\nrows_per_batch = 5\n")
    api = serve()
    batches = [ask(api, "many").json()["data"] for _ in range(5)]
    assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
    assert [row for batch in batches for row in batch] == rows
    assert ask(api, "many").status_code == 400


def test_rows_that_are_appended_are_the_next_rows(serve):
    def write(rows):
        (serve.folder / "many.csv").write_bytes(as_csv([[str(n)] for n in range(rows)], ["n"]))

    def served():
        reply = ask(api, "many")
        return (
            (reply.json()["batch_number"], [int(n) for (n,) in reply.json()["data"]])
            if reply.is_success
            else None
        )

    (serve.folder / "datasets.toml").write_text("[many]\nrows_per_batch = 5\n")
    api = serve()
    write(7)
    assert [served(), served(), served()] == [(1, [0, 1, 2, 3, 4]), (2, [5, 6]), None]
    write(12)
    assert [served(), served(), served()] == [(2, [7, 8, 9]), (3, [10, 11]), None]
    write(13)
    (serve.folder / "datasets.toml").write_text("[many]\nrows_per_batch = 8\n")
    assert [served(), served()] == [(2, [12]), None]


def test_a_file_is_cut_by_price(serve):
    prices = ["500", "100", "300.5", "", "300", "call", "50", "900"]
    (serve.folder / "houses.csv").write_bytes(
        as_csv([[p, str(n)] for n, p in enumerate(prices)], ["price", "n"])
    )
    (serve.folder / "datasets.toml").write_text(
        '[houses]\nrows_per_batch = 2\ncut_by = "price"\ncuts = [300, 500]\n'
    )
    api = serve()
    batches = [[row[0] for row in ask(api, "houses").json()["data"]] for _ in range(5)]
    assert batches == [["100", "300"], ["50"], ["500", "300.5"], ["", "call"], ["900"]]


def test_an_added_changed_or_removed_file_counts_at_once(serve):
    api = serve()
    assert ask(api, "late").status_code == 404
    (serve.folder / "late.csv").write_bytes(b"a\n1\n2\n")
    assert ask(api, "late").json()["data"] == [["1"], ["2"]]
    (serve.folder / "late.csv").write_bytes(b"a\n5\n6\n7\n")
    assert api.get("/").json()["datasets"]["late"]["rows"] == 3
    (serve.folder / "late.csv").unlink()
    assert ask(api, "late").status_code == 404


def test_a_real_file_takes_the_place_of_the_synthetic_one(serve):
    api = serve()
    assert "synthetic" in api.get("/").json()["datasets"]["realtor"]["source"]
    (serve.folder / "realtor-data.zip.csv").write_bytes(b"price,city\n1.0,Here\n")
    assert ask(api, "realtor").json()["data"] == [["1.0", "Here"]]
    assert api.get("/").json()["datasets"]["realtor"]["source"] == "file realtor-data.zip.csv"


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("broken.csv", b"a,b\n1,2\n3\n", "line 3"),
        ("broken.csv", b'a,b\n1,2\n3,"4\n', "CSV"),
        ("broken.csv", b"", "empty"),
        ("broken.csv", b"a,b\n", "no rows"),
        ("broken.csv", b"a,a\n1,2\n", "twice"),
        ("broken.csv", b"a,\n1,2\n", "without a name"),
        ("broken.csv", b"a,b\n1,\xff\n", "save it as UTF-8, or let `lab new` read it"),
        ("broken.csv", b"a;b\n1,5;2\n", "has semicolons between its values; save it with commas"),
        ("broken.csv", b"a\tb\n1\t2\n", "has tabs between its values"),
        ("broken.csv.gz", b"no gzip", "CSV"),
        ("broken.csv.gz", gzip.compress(as_csv(ROWS * 50), mtime=0)[:-20], "CSV"),
    ],
)
def test_a_bad_file_is_one_clear_error_and_the_others_are_served(serve, name, content, word):
    (serve.folder / name).write_bytes(content)
    (serve.folder / "good.csv").write_bytes(b"a\n1\n")
    api = serve()
    reply = ask(api, "broken")
    assert (reply.status_code, reply.headers[FILE_FAULT]) == (503, "true")
    detail = reply.json()["detail"]
    assert name in detail
    assert word in detail
    assert "\n" not in detail
    assert api.get("/").json()["datasets"]["broken"] == {"error": detail}
    assert ask(api, "good").json()["data"] == [["1"]]
    # Repaired, it begins with its first batch: nothing was used up.
    (serve.folder / name).unlink()
    (serve.folder / "broken.csv").write_bytes(b"a\n1\n")
    assert ask(api, "broken").json()["batch_number"] == 1


def test_a_missing_data_set_says_where_its_file_belongs(serve):
    reply = ask(serve(), "mine")
    assert (reply.status_code, reply.headers[FILE_FAULT]) == (404, "true")
    assert reply.json()["detail"].endswith(f"; put mine.csv into {serve.folder}")


def test_two_files_of_one_name(serve):
    (serve.folder / "diabetic_data.csv").write_bytes(b"a\n1\n")
    (serve.folder / "diabetes.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    reply = ask(serve(), "diabetes")
    assert reply.status_code == 503
    assert "diabetes.csv.gz and diabetic_data.csv" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        ("[good\n", "datasets.toml"),
        ("[good]\nrows_per_batch = 0\n", "good.rows_per_batch"),
        ("[good]\nrows = 3\n", "good.rows"),
        ('[good]\ncut_by = "a"\n', "cuts"),
        ('[good]\ncut_by = "b"\ncuts = [1]\n', "no column b"),
        ("good = 3\n", "good"),
    ],
)
def test_bad_settings_of_a_file(serve, toml, word):
    (serve.folder / "good.csv").write_bytes(b"a\n1\n")
    (serve.folder / "datasets.toml").write_text(toml)
    api = serve()
    reply = ask(api, "good")
    assert reply.status_code == 503
    assert word in reply.json()["detail"]
    assert "\n" not in reply.json()["detail"]
    assert ask(api, "realtor").status_code == 200
    (serve.folder / "datasets.toml").unlink()
    assert ask(api, "good").status_code == 200


def test_other_files_in_the_folder_are_left_alone(serve):
    for name in (".hidden.csv", "notes.txt", "half.csv.part"):
        (serve.folder / name).write_text("a\n1\n")
    assert set(serve().get("/").json()["datasets"]) == {"realtor", "diabetes", "covertype"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name", "batches"),
    [
        ("diabetic_data.csv.gz", "diabetes", [15_000] * 6 + [11_766]),
        ("covertype_group5_unique.csv.gz", "covertype", [15_000] * 3 + [2_340]),
        ("realtor_2023_half.csv.gz", "realtor", [30_000] * 5 + [3_168]),
        ("realtor_p4_batch3_12col.csv", "realtor", [4_055]),
    ],
)
def test_real_files(serve, real_file, file, name, batches):
    (serve.folder / file).symlink_to(real_file(file).resolve())
    api = serve()
    assert api.get("/").json()["datasets"][name]["batches"] == batches
    opened = gzip.open if file.endswith(".gz") else open
    with opened(real_file(file), "rt", newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert api.get(f"/{name}/columns").json() == header
    served = []
    for _ in batches:
        served += ask(api, name).json()["data"]
    assert served == rows
    objects = ask(api, name, "group_number=1&day=1").json()["data"]
    assert [["" if v is None else v for v in row.values()] for row in objects[:500]] == [
        [type(value)(text) if text else "" for text, value in zip(row, objects[at].values(), strict=True)]
        for at, row in enumerate(rows[:500])
    ]
