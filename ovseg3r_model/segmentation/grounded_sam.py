"""The engine "grounded-sam": boxes from text by Grounding DINO, masks of the boxes by SAM."""

from collections.abc import Sequence
from functools import partial

from ovseg3r_model.records import UInt8
from ovseg3r_model.segmentation import box_masks, grounding_dino
from ovseg3r_model.segmentation.in_network import Network
from ovseg3r_model.segmentation.learned import Finish, Learned
from ovseg3r_model.segmentation.overlaps import thin_boxes, view_masks
from ovseg3r_model.segmentation.pretrained import check_type
from ovseg3r_model.settings import SegmentSettings
from ovseg3r_model.weights import find


class GroundedSam(Learned):
    """The engine. METHOD 1.2's X is the finest map of the detector's image encoder after the neck (a cell every 8
    pixels of what the network sees), R the decoder's last hidden state of the instance's query.
    """

    name = "grounded-sam"

    def __init__(self, settings: SegmentSettings, features: bool) -> None:
        """Raises InputError: the weights or the vocabulary are not there, or no such device."""
        super().__init__(settings, features)
        self._detector, self._sam = find(settings.grounded_sam.detector), find(settings.grounded_sam.sam)
        check_type(self._detector, grounding_dino.TYPES, "Grounding DINO", text=True)
        check_type(self._sam, box_masks.TYPES, "SAM or SAM 2", text=False)

    def build(self) -> Network[Finish]:
        given = self.settings
        detect = grounding_dino.GroundingDino(
            self._detector, self.phrases, given.grounded_sam.threshold, self.device, given.precision, self.features
        )
        mask = box_masks.BoxMasks(self._sam, self.device, given.precision)

        def network(frames: Sequence[UInt8]) -> list[Finish]:
            found = detect(frames)
            thinned = [thin_boxes(one.detections, given.overlaps) for one in found]
            kept = [one.detections[chosen] for one, (chosen, _) in zip(found, thinned, strict=True)]
            masks = mask(frames, [one.box for one in kept])
            return [
                partial(
                    view_masks, things, of_frame, self.phrases, frames[0].shape[:2], given.overlaps, given.min_area,
                    dropped, one.features,
                )
                for things, of_frame, (_, dropped), one in zip(kept, masks, thinned, found, strict=True)
            ]  # fmt: skip

        return network
