// Where the fields of the kernels' structures lie, and halves as the kernels read and write them.
#include "device.h"

#include "half.h"
#include "structures.h"

#define VISIBLE extern "C" __attribute__((visibility("default")))
#define FIELD(structure, field) #field " " + std::to_string(offsetof(structure, field)) + "\n"
#define SIZE(structure) "sizeof " + std::to_string(sizeof(structure)) + "\n"

VISIBLE unsigned short half_bits(float value) { return to_half(value); }

VISIBLE float half_value(unsigned short bits) { return from_half(bits); }

// Lines of a field's name and its offset in bytes, the size last; empty for an unknown structure.
VISIBLE const char* layout_of(const char* name) {
    static std::string lines;
    const std::string structure = name;
    lines.clear();
    if (structure == "CanvasJob") {
        lines = lines + FIELD(CanvasJob, planes) + FIELD(CanvasJob, luma_pitch) + FIELD(CanvasJob, chroma_pitch) +
                FIELD(CanvasJob, width) + FIELD(CanvasJob, height) + FIELD(CanvasJob, kind) +
                FIELD(CanvasJob, first_copy) + FIELD(CanvasJob, n_copies) + FIELD(CanvasJob, pad) + SIZE(CanvasJob);
    } else if (structure == "PatchCopy") {
        lines = lines + FIELD(PatchCopy, source) + FIELD(PatchCopy, target) + SIZE(PatchCopy);
    } else if (structure == "InputLayout") {
        lines = lines + FIELD(InputLayout, dtype) + FIELD(InputLayout, is_channels_last) +
                FIELD(InputLayout, is_rgb) + FIELD(InputLayout, scale) + FIELD(InputLayout, offset) +
                SIZE(InputLayout);
    } else if (structure == "PredictionSet") {
        lines = lines + FIELD(PredictionSet, outputs) + FIELD(PredictionSet, family) +
                FIELD(PredictionSet, n_classes) + FIELD(PredictionSet, n_predictions) + FIELD(PredictionSet, width) +
                FIELD(PredictionSet, height) + FIELD(PredictionSet, n_columns) + FIELD(PredictionSet, n_strides) +
                FIELD(PredictionSet, strides) + FIELD(PredictionSet, max_candidates) +
                FIELD(PredictionSet, is_half) + FIELD(PredictionSet, score_floor) +
                FIELD(PredictionSet, objectness_floor) + FIELD(PredictionSet, nms_iou) +
                FIELD(PredictionSet, centre) + SIZE(PredictionSet);
    } else if (structure == "FoundDetections") {
        lines = lines + FIELD(FoundDetections, n) + FIELD(FoundDetections, boxes) + FIELD(FoundDetections, scores) +
                FIELD(FoundDetections, class_ids) + SIZE(FoundDetections);
    } else if (structure == "LumaPlane") {
        lines = lines + FIELD(LumaPlane, pixels) + FIELD(LumaPlane, pitch) + FIELD(LumaPlane, width) +
                FIELD(LumaPlane, height) + SIZE(LumaPlane);
    } else if (structure == "FlowJob") {
        lines = lines + FIELD(FlowJob, earlier) + FIELD(FlowJob, later) + FIELD(FlowJob, n_levels) +
                FIELD(FlowJob, n_points) + FIELD(FlowJob, max_steps) + FIELD(FlowJob, last_step_px) + SIZE(FlowJob);
    } else if (structure == "PointSearch") {
        lines = lines + FIELD(PointSearch, start) + FIELD(PointSearch, guess) + SIZE(PointSearch);
    } else if (structure == "FollowedPoint") {
        lines = lines + FIELD(FollowedPoint, there) + FIELD(FollowedPoint, back) +
                FIELD(FollowedPoint, min_eigenvalue) + FIELD(FollowedPoint, has_converged) + SIZE(FollowedPoint);
    } else if (structure == "CameraMap") {
        lines = lines + FIELD(CameraMap, x) + FIELD(CameraMap, y) + FIELD(CameraMap, is_used) + SIZE(CameraMap);
    }
    return lines.c_str();
}

// The enumerators that app/gpu/structures.py repeats, in its order.
VISIBLE const int* enumerators(int* n) {
    static const int values[] = {NO_FRAME,     BGR_FRAME,      STUDIO_YUV_FRAME, FULL_YUV_FRAME, UINT8_TENSOR,
                                 FLOAT32_TENSOR, FLOAT16_TENSOR, YOLOX,          YOLO,           YOLOV8,
                                 NANODET,      NANODET_PLUS,   FASTESTDET,       MAX_OUTPUTS,    MAX_STRIDES,
                                 MAX_DETECTIONS, CLASS_BITS,   PREDICTION_BITS,  MAX_LEVELS};
    *n = sizeof(values) / sizeof(values[0]);
    return values;
}
