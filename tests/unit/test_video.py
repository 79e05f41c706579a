"""Videos are written here with known pictures: the top left quarter red, and the frame's number as the bottom
right grey."""

from pathlib import Path

import av
import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.sources import open_recording
from ovseg3r_model.video import open_video

WIDTH, HEIGHT, RATE = 64, 48, 20


def picture(number: int) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2, : WIDTH // 2] = (255, 0, 0)
    pixels[HEIGHT // 2 :, WIDTH // 2 :] = 5 * number
    return pixels


def write_video(path: Path, count: int = 40, codec: str = "libx264", turn: dict | None = None, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.bit_rate = 12, 4_000_000
        stream.codec_context.options = options
        if turn:
            stream.set_display_rotation(**turn)
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def number_in(pixels: np.ndarray) -> int:
    """Which frame a picture shows, by its bottom right quarter."""
    height, width = pixels.shape[:2]
    return round(float(pixels[height * 5 // 8 : height * 7 // 8, width * 5 // 8 : width * 7 // 8].mean()) / 5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.h264", "libx264"),
        ("b.mkv", "mjpeg"),
    ],
)
def test_every_container_gives_every_frame_once_in_order(tmp_path: Path, name: str, codec: str) -> None:
    video = open_video(write_video(tmp_path / name, codec=codec))
    assert len(video) == len(video.color) == 40
    assert video.size == (WIDTH, HEIGHT)
    assert [number_in(video.color[i]) for i in range(40)] == list(range(40))
    assert video.color[0].dtype == np.uint8
    assert video.notes == ()
    assert (video.intrinsics, video.world_from_camera, video.depth) == (None, None, None)
    if not name.endswith("h264"):  # a raw stream has no clock of its own
        np.testing.assert_allclose(video.time, np.arange(40) / RATE, atol=2e-3)
    assert video.names[7] == "frame-000007"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.h264"])
def test_any_order_gives_the_same_pixels_as_reading_forwards(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name)
    forwards = [open_video(path).color[i] for i in range(40)]
    frames = open_video(path).color
    order = np.random.default_rng(0).permutation(40).tolist()
    for index in [39, 0, 39, 38, 20, 20, 21, 5, *order]:
        np.testing.assert_array_equal(frames[index], forwards[index], err_msg=f"frame {index}")
    np.testing.assert_array_equal(frames[-1], forwards[39])
    with pytest.raises(IndexError):
        frames[40]


def test_forward_reading_opens_the_file_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ovseg3r_model import video as module

    frames = open_video(clip).color
    opened = []
    really_open = module.open_container
    monkeypatch.setattr(module, "open_container", lambda path: opened.append(path) or really_open(path))
    for index in [0, 3, 4, 17, 30, 39]:
        assert number_in(frames[index]) == index
    assert len(opened) == 1


# The red quarter is at the top left as stored; where it is shown, by each of the eight orientations.
@pytest.mark.parametrize(
    ("turn", "shown"),
    [
        ({"degrees": 0}, (0, 0)),
        ({"degrees": 90}, (1, 0)),  # counter-clockwise: to the bottom left
        ({"degrees": -90}, (0, 1)),  # a phone held upright: to the top right
        ({"degrees": 180}, (1, 1)),
        ({"degrees": 0, "hflip": True}, (0, 1)),
        ({"degrees": 0, "vflip": True}, (1, 0)),
        ({"degrees": 90, "hflip": True}, (1, 1)),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_display_matrix_is_obeyed(tmp_path: Path, name: str, turn: dict, shown: tuple[int, int]) -> None:
    video = open_video(write_video(tmp_path / name, count=3, turn=turn))
    upright = abs(turn["degrees"]) == 90
    assert video.size == ((HEIGHT, WIDTH) if upright else (WIDTH, HEIGHT))
    pixels = video.color[1]
    assert pixels.shape == (video.size[1], video.size[0], 3)
    height, width = pixels.shape[:2]
    corner = pixels[height // 4 + shown[0] * height // 2, width // 4 + shown[1] * width // 2]
    assert corner[0] > 200
    assert corner[1] < 60


def test_rotation_agrees_with_pyav(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", count=1, turn={"degrees": -90})
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        stored, counter_clockwise = frame.to_ndarray(format="rgb24"), frame.rotation
    np.testing.assert_array_equal(open_video(path).color[0], np.rot90(stored, counter_clockwise // 90))


def test_times_follow_the_time_stamps(tmp_path: Path) -> None:
    path = tmp_path / "uneven.mkv"
    stamps = [0, 40, 90, 300, 310, 1000]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = stamp
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = open_video(path)
    np.testing.assert_allclose(video.time, np.array(stamps) / 1000)
    assert [number_in(video.color[i]) for i in range(6)] == list(range(6))


def test_a_cut_mkv_gives_what_decodes_and_a_note(tmp_path: Path) -> None:
    # Intra pictures of noise keep the packets large, so that the cut falls among them.
    path = tmp_path / "long.mkv"
    noise = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 10
        for _ in range(60):
            pixels = noise.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    whole = open_video(path)
    cut = tmp_path / "cut.mkv"
    data = path.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    video = open_video(cut)
    assert 15 < len(video) < 45
    np.testing.assert_array_equal(video.time, whole.time[: len(video)])
    for index in range(len(video) - 3):  # the last ones may be decoded from a packet that was cut
        np.testing.assert_array_equal(video.color[index], whole.color[index])
    assert video.color[len(video) - 1].shape == (HEIGHT, WIDTH, 3)
    assert len(video.notes) == 1
    assert "breaks off" in video.notes[0]
    assert "3.0 s" in video.notes[0]


def test_damage_in_the_middle_names_the_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", codec="mjpeg")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    start = data.index(packets[20])
    path.write_bytes(data[:start] + b"\0" * len(packets[20]) + data[start + len(packets[20]) :])
    video = open_video(path)
    assert len(video) == 40
    with pytest.raises(InputError, match=r"a\.mkv: frame 20 cannot be decoded.*re-encode"):
        video.color[20]
    assert number_in(video.color[21]) == 21
    assert number_in(video.color[19]) == 19


def test_a_cut_mp4_says_that_its_index_is_missing(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    data = clip.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\.mp4: the video was cut off.*moov.*copy it again"):
        open_video(cut)


@pytest.mark.parametrize("content", [b"hello world\n" * 100, b"#EXTM3U\n#EXTINF:1,\nother.ts\n", b"\0" * 5000])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.mp4: is no video.*give an mp4"):
        open_recording(path)


def test_a_playlist_does_not_lead_to_other_files(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    with pytest.raises(InputError, match=r"list\.mp4"):
        open_recording(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(InputError, match=r"empty\.mp4: is empty"):
        open_recording(path)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"sound\.mp4: holds no video stream"):
        open_recording(path)


def test_a_video_without_a_decodable_frame_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", count=3, codec="mjpeg")
    data = path.read_bytes()
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            data = data.replace(bytes(packet), b"\0" * packet.size) if packet.size else data
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.mkv: not one frame can be decoded"):
        open_recording(path)
